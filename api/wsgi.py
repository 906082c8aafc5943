"""gunicorn's target: `gunicorn --config python:api.gunicorn_config api.wsgi:app`."""

from api import create_app
from worker.settings import Settings

app = create_app(Settings.from_env())
