"""A web server: nginx, and the page that its image brings along (images/web-server/site)."""

from __future__ import annotations

from lab.services import File, Question, Site, render

FOLDER = "/srv/www"
"""Where what it serves lies on it; `/` is index.html there."""


def files(site: Site, name: str) -> tuple[File, ...]:
    """nginx's configuration."""
    values = {"hostname": site.hostname(name), "folder": FOLDER}
    return (File("/etc/nginx/nginx.conf", render("nginx.conf", values)),)


def questions(site: Site, name: str) -> tuple[Question, ...]:
    """Its page."""
    return (Question.http(name, site.address(name)),)
