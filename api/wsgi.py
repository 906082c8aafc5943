"""gunicorn's target: `gunicorn --config api/gunicorn_config.py api.wsgi:app`."""

from api import create_app
from worker.settings import Settings

app = create_app(Settings.from_env())
