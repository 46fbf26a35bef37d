"""The person at the browser, as far as OAuth needs one: cookies, redirects and plain HTML forms."""

from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import requests


class FirstForm(HTMLParser):
    """The action and the fields of a page's first form."""

    def __init__(self, page):
        super().__init__()
        self.action, self.inputs, self.buttons, self.inside = None, [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form" and self.action is None:
            self.action, self.inside = attrs.get("action", ""), True
        elif self.inside and tag == "input" and "name" in attrs:
            self.inputs.append((attrs["name"], attrs.get("value") or ""))
        elif self.inside and tag == "button":
            self.buttons.append(attrs.get("name"))

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False


def walk(start, redirect_uri, decision="approve", login="alice"):
    """Follows redirects and answers forms from an authorization URL to the client's redirect URI.

    Returns the parameters the browser brings there and the pages it met.
    """
    browser, visited = requests.Session(), []
    method, url, fields, headers = "GET", start, None, {}
    for _ in range(30):
        if url.partition("?")[0] == redirect_uri:
            return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}, visited
        response = browser.request(
            method, url, data=fields, headers={"Accept": "text/html", **headers}, allow_redirects=False, timeout=20
        )
        visited.append(f"{method} {url.partition('?')[0]} → {response.status_code}")
        # A browser sends Secure cookies to http on loopback; the library would not.
        for cookie in browser.cookies:
            cookie.secure = False
        if "location" in response.headers:
            method, url, fields, headers = "GET", urljoin(url, response.headers["location"]), None, {}
            continue
        form = FirstForm(response.text)
        if not response.ok or form.action is None:
            raise RuntimeError(f"stopped at {response.status_code} {url}: {response.text[:2000]}")
        typed = {"login": login, "password": "correct horse battery staple"}
        fields = [(name, typed.get(name, value)) for name, value in form.inputs]
        if "decision" in form.buttons:
            fields.append(("decision", decision))
        # Browsers name no origin when they post from a page with this policy.
        origin = "null" if response.headers.get("referrer-policy") == "no-referrer" else "://".join(urlsplit(url)[:2])
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        method, url = "POST", urljoin(url, form.action)
    raise RuntimeError(f"no end to the redirects: {visited}")
