"""Writes what an image holds as a CycloneDX bill of materials: `python -m scripts.sbom IMAGE FILE`."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

_PYTHON = """
import json
from importlib.metadata import distributions
print(json.dumps([[one.name, one.version, one.metadata.get("License-Expression")] for one in distributions()]))
"""
_DEBIAN = "${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\t${source:Version}\\n"


def bill_of_materials(image: str) -> Bom:
    """List every Debian and every Python package that the image has installed."""
    root = Component(name="experiment-etl", type=ComponentType.CONTAINER, version=_id(image), bom_ref="image")
    components = [*_debian(image), *_python(image)]
    bom = Bom(components=components)
    bom.metadata.component = root
    bom.register_dependency(root, components)
    return bom


def written(bom: Bom) -> str:
    """Return it as JSON. Raises ValueError where that is not valid CycloneDX 1.6."""
    text: str = JsonV1Dot6(bom).output_as_string(indent=2)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise ValueError(f"not valid CycloneDX: {problem}")
    return text


def _id(image: str) -> str:
    return _docker("image", "inspect", "--format", "{{.Id}}", image).strip()


def _debian(image: str) -> list[Component]:
    packages = [line.split("\t") for line in _run(image, "dpkg-query", "--show", "--showformat", _DEBIAN).splitlines()]
    return [
        _component(PackageURL("deb", "debian", name, version, {"arch": arch, "upstream": f"{source}@{source_version}"}))
        for name, version, arch, source, source_version in packages
    ]


def _python(image: str) -> list[Component]:
    licenses = LicenseFactory()
    return [
        _component(
            PackageURL("pypi", None, re.sub(r"[-_.]+", "-", name).lower(), version),  # PEP 503
            licenses=[licenses.make_with_expression(expression)] if expression else [],
        )
        for name, version, expression in json.loads(_run(image, "/opt/venv/bin/python", "-c", _PYTHON))
    ]


def _component(purl: PackageURL, **more: object) -> Component:
    return Component(name=purl.name, version=purl.version, purl=purl, bom_ref=purl.to_string(), **more)  # type: ignore[arg-type]


def _run(image: str, program: str, *arguments: str) -> str:
    return _docker("run", "--rm", "--network", "none", "--entrypoint", program, image, *arguments)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603, S607


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="scripts.sbom", description=__doc__)
    _parser.add_argument("image")
    _parser.add_argument("file", type=Path)
    _arguments = _parser.parse_args()
    _bom = bill_of_materials(_arguments.image)
    _arguments.file.parent.mkdir(parents=True, exist_ok=True)
    _arguments.file.write_text(written(_bom))
    sys.stdout.write(f"{len(_bom.components)} packages of the image: {_arguments.file}\n")
