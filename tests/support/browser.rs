//! The person at a browser, as strict as a real one where servers trip over it.
//!
//! Cookies are per host (ports share them), `Secure` ones travel over http on loopback, `__Host-`
//! ones must deserve their name. A form is posted with `Origin` and `Sec-Fetch-Site` as browsers
//! send them (`Origin: null` from a page with `Referrer-Policy: no-referrer`), and the page's
//! `form-action` holds for every redirect that follows.

use reqwest::{Method, Response, header};
use url::Url;

use crate::page::{Form, Page};
use crate::server::{build, loopback_client};

const REDIRECTS_MAX: usize = 30;

/// Cookies and the place where the browser stops. A clone has the same cookies, as another tab has.
///
/// It keeps no connection: behind a balancer each of its requests may reach another node.
#[derive(Clone, Debug)]
pub struct Browser {
    http: reqwest::Client,
    cookies: Vec<Cookie>,
    /// Every request made: method, address without query, status.
    pub visited: Vec<String>,
}

/// What the person answers where a form asks.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The name typed into the provider's login form.
    pub login: &'static str,
    /// The button pressed on the consent page: `approve` or `deny`.
    pub decision: &'static str,
    /// Whether the person turns back at the provider's login form.
    pub cancels_login: bool,
}

/// Alice logs in and approves.
pub const ALICE: Person = Person {
    login: "alice",
    decision: "approve",
    cancels_login: false,
};

#[derive(Clone, Debug)]
struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

impl Browser {
    /// A browser without cookies.
    #[expect(
        clippy::new_without_default,
        reason = "a browser is opened, not defaulted"
    )]
    pub fn new() -> Self {
        Self {
            http: build(loopback_client().pool_max_idle_per_host(0)),
            cookies: Vec::new(),
            visited: Vec::new(),
        }
    }

    /// Opens `url` and answers every form as `person` does, until the browser is sent to
    /// `redirect_uri` or a page has no form.
    pub async fn walk(&mut self, url: &str, redirect_uri: &str, person: Person) -> Page {
        let mut page = self.open(url, redirect_uri).await;
        while let Some(form) = page.form() {
            let cancel = page.link("/abort").filter(|_| person.cancels_login);
            page = match cancel {
                Some(cancel) => self.open(cancel.as_str(), redirect_uri).await,
                None => {
                    let answers = answers(&form, person);
                    self.submit(&page, &form, &answers, redirect_uri).await
                }
            };
        }
        page
    }

    /// Opens `url`, following redirects until there is a page or `redirect_uri` is reached.
    pub async fn open(&mut self, url: &str, redirect_uri: &str) -> Page {
        let url = Url::parse(url).expect("the browser is given a URL");
        let response = self.send(self.http.get(url.clone()), &url).await;
        self.follow(url, response, redirect_uri, None).await
    }

    /// Submits `form` of `page` with exactly `fields`, then follows redirects as [`Self::open`].
    pub async fn submit(
        &mut self,
        page: &Page,
        form: &Form,
        fields: &[(String, String)],
        redirect_uri: &str,
    ) -> Page {
        let origin = match page.header("referrer-policy") {
            "no-referrer" => "null".to_owned(),
            _ => page.url.origin().ascii_serialization(),
        };
        let site = if page.url.origin() == form.action.origin() {
            "same-origin"
        } else {
            "cross-site"
        };
        let allowed = form_action(page);
        allowed.check(&form.action);
        let request = self
            .http
            .request(Method::POST, form.action.clone())
            .form(fields);
        let request = request
            .header(header::ORIGIN, origin)
            .header("sec-fetch-site", site);
        let response = self.send(request, &form.action).await;
        self.follow(form.action.clone(), response, redirect_uri, Some(allowed))
            .await
    }

    async fn follow(
        &mut self,
        mut url: Url,
        mut response: Response,
        redirect_uri: &str,
        allowed: Option<FormAction>,
    ) -> Page {
        for _ in 0..REDIRECTS_MAX {
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let Some(location) = headers.get(header::LOCATION) else {
                let body = response.text().await.expect("a page is text");
                return Page {
                    url,
                    status,
                    headers,
                    body,
                };
            };
            let location = location.to_str().expect("a location is text");
            url = url.join(location).expect("a location is a URL");
            if let Some(allowed) = &allowed {
                allowed.check(&url);
            }
            if is_at(&url, redirect_uri) {
                return Page {
                    url,
                    status,
                    headers,
                    body: String::new(),
                };
            }
            response = self.send(self.http.get(url.clone()), &url).await;
        }
        panic!("no end to the redirects: {:#?}", self.visited);
    }

    async fn send(&mut self, request: reqwest::RequestBuilder, url: &Url) -> Response {
        let cookies = self.cookies.iter().filter(|cookie| cookie.is_for(url));
        let cookies: Vec<_> = cookies.map(|c| format!("{}={}", c.name, c.value)).collect();
        let mut request = request.header(header::ACCEPT, "text/html,application/xhtml+xml");
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let request = request.build().expect("a browser's request is well formed");
        let method = request.method().clone();
        let response = self.http.execute(request).await;
        let response = response
            .unwrap_or_else(|error| panic!("{method} {url}: {error:?}; after {:#?}", self.visited));
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            self.keep(cookie.to_str().expect("a cookie is text"), url);
        }
        let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
        self.visited
            .push(format!("{method} {place} {}", response.status().as_u16()));
        response
    }

    fn keep(&mut self, line: &str, url: &Url) {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').expect("a cookie has a name");
        let attribute = |name: &str| {
            attributes.split(';').find_map(|attribute| {
                let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
                key.trim()
                    .eq_ignore_ascii_case(name)
                    .then_some(value.trim())
            })
        };
        let path = attribute("path").unwrap_or("/").to_owned();
        if name.starts_with("__Host-") {
            let deserved =
                attribute("secure").is_some() && path == "/" && attribute("domain").is_none();
            assert!(deserved, "a browser would drop this cookie: {line}");
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        self.cookies
            .retain(|c| (&c.host, &c.path, c.name.as_str()) != (&host, &path, name));
        let expired = attribute("max-age") == Some("0")
            || attribute("expires").is_some_and(|at| at.contains("1970"));
        if !expired {
            self.cookies.push(Cookie {
                host,
                path,
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }
}

impl Cookie {
    fn is_for(&self, url: &Url) -> bool {
        let path = url.path().strip_prefix(self.path.trim_end_matches('/'));
        url.host_str() == Some(&self.host)
            && path.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// What a person fills in: the login form's two fields and the decision; the rest as the page set it.
fn answers(form: &Form, person: Person) -> Vec<(String, String)> {
    let mut fields = form.inputs.clone();
    for (name, value) in &mut fields {
        match name.as_str() {
            "login" => person.login.clone_into(value),
            "password" => "correct horse battery staple".clone_into(value),
            _ => {}
        }
    }
    if form.buttons.iter().any(|(name, _)| name == "decision") {
        fields.push(("decision".to_owned(), person.decision.to_owned()));
    }
    fields
}

fn is_at(url: &Url, redirect_uri: &str) -> bool {
    url.as_str().split(['?', '#']).next() == Some(redirect_uri)
}

/// The `form-action` directive of a page's content security policy.
struct FormAction {
    page: Url,
    sources: Option<Vec<String>>,
}

fn form_action(page: &Page) -> FormAction {
    let directives = page
        .header("content-security-policy")
        .split(';')
        .map(str::trim);
    let sources = directives
        .filter_map(|d| d.strip_prefix("form-action"))
        .next();
    FormAction {
        page: page.url.clone(),
        sources: sources.map(|s| s.split_whitespace().map(str::to_owned).collect()),
    }
}

impl FormAction {
    /// Panics where a real browser would stop with "violates form-action".
    fn check(&self, target: &Url) {
        let Some(sources) = &self.sources else { return };
        let origin = target.origin().ascii_serialization();
        let allowed = sources.iter().any(|source| match source.as_str() {
            "*" => matches!(target.scheme(), "http" | "https"),
            "'self'" => target.origin() == self.page.origin(),
            source => {
                source.strip_suffix(':') == Some(target.scheme())
                    || source.trim_end_matches('/') == origin
            }
        });
        assert!(
            allowed,
            "form-action {sources:?} of {} blocks {target}",
            self.page
        );
    }
}
