"""The API: Flask in front of the ledger and the published features."""

from flask import Flask

from api import (
    assets,
    bodies,
    dashboard,
    datasets,
    diff,
    docs,
    events,
    features,
    health,
    job_log,
    jobs,
    metrics,
    openapi,
    problems,
    publications,
    rates,
    rejections,
    request_ids,
    security,
    services,
    statistics,
    uploads,
)
from api.encoding import IsoJSON
from worker.settings import Settings


def create_app(settings: Settings) -> Flask:
    """Return the application; it opens no connection before the first request."""
    app = Flask(__name__, static_folder=None)  # api/assets.py instead
    app.json = IsoJSON(app)
    bodies.init_app(app)
    request_ids.init_app(app)
    services.init_app(app, settings)
    metrics.init_app(app)
    problems.init_app(app)
    rates.init_app(app, settings)
    security.init_app(app, settings)
    assets.init_app(app)
    app.register_blueprint(jobs.bp)
    app.register_blueprint(rejections.bp)
    app.register_blueprint(events.bp)
    app.register_blueprint(job_log.bp)
    app.register_blueprint(diff.bp)
    app.register_blueprint(features.bp)
    app.register_blueprint(statistics.bp)
    app.register_blueprint(datasets.bp)
    app.register_blueprint(publications.bp)
    app.register_blueprint(openapi.bp)
    app.register_blueprint(docs.bp)
    app.register_blueprint(uploads.bp)
    app.register_blueprint(health.bp)
    app.register_blueprint(metrics.bp)
    app.register_blueprint(dashboard.bp)
    app.register_blueprint(assets.bp)
    return app
