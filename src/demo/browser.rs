//! As much of a browser as the story needs: it keeps cookies, follows redirects one at a time and
//! submits a page's only form. It stops where the client waits for the answer.

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{RequestBuilder, StatusCode};
use url::Url;

use super::check::{Unexpected, http_client};

const USER_AGENT: &str = "Mozilla/5.0 (Grantlog demo browser)";
const MAX_HOPS: usize = 10;

/// A browser with its own cookies.
pub(super) struct Browser {
    http: reqwest::Client,
    cookies: Vec<Cookie>,
    redirect_uri: Url,
}

struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// Where following all redirects has led.
pub(super) enum Landed {
    /// A page for the person.
    Page(Page),
    /// The client's redirect URI, with the answer in its query.
    Answer(Url),
}

/// A page as it was received.
pub(super) struct Page {
    /// Its address.
    pub url: Url,
    /// Its HTTP status.
    pub status: StatusCode,
    /// Its HTML.
    pub html: String,
}

impl Browser {
    /// An empty browser of somebody whose client waits at `redirect_uri`.
    pub fn new(redirect_uri: Url) -> Result<Self, Unexpected> {
        Ok(Self {
            http: http_client(USER_AGENT, None)?,
            cookies: Vec::new(),
            redirect_uri,
        })
    }

    /// Opens an address.
    pub async fn open(&mut self, url: Url) -> Result<Landed, Unexpected> {
        self.follow(self.http.get(url.clone()), url).await
    }

    /// Submits a page's form: its hidden fields and these.
    pub async fn submit(
        &mut self,
        page: &Page,
        fields: &[(&str, &str)],
    ) -> Result<Landed, Unexpected> {
        let (action, mut form) = page.form()?;
        form.extend(
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        // Browsers say where a form was sent from; the server's guard against forgery wants it.
        let request = self
            .http
            .post(action.clone())
            .header("origin", page.url.origin().ascii_serialization())
            .header("sec-fetch-site", "same-origin")
            .form(&form);
        self.follow(request, action).await
    }

    async fn follow(
        &mut self,
        mut request: RequestBuilder,
        mut url: Url,
    ) -> Result<Landed, Unexpected> {
        for _ in 0..MAX_HOPS {
            if let Some(cookies) = self.cookies_for(&url) {
                request = request.header(COOKIE, cookies);
            }
            let response = request.send().await?;
            for cookie in response.headers().get_all(SET_COOKIE) {
                self.keep(&url, cookie.to_str().unwrap_or_default());
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|to| to.to_str().ok());
            let next = match location {
                Some(location) if response.status().is_redirection() => Some(location.to_owned()),
                _ => None,
            };
            let page = Page {
                status: response.status(),
                html: response.text().await?,
                url,
            };
            let Some(next) = next.or_else(|| page.refresh()) else {
                return Ok(Landed::Page(page));
            };
            url = page
                .url
                .join(&next)
                .map_err(|_| Unexpected::new("a redirect to a URL", next))?;
            if url.as_str().starts_with(self.redirect_uri.as_str()) {
                return Ok(Landed::Answer(url));
            }
            request = self.http.get(url.clone());
        }
        Err(Unexpected::new(
            "a page",
            format!("more than {MAX_HOPS} redirects, the last to {}", url.path()),
        ))
    }

    fn cookies_for(&self, url: &Url) -> Option<String> {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .filter(|cookie| {
                url.host_str() == Some(&cookie.host) && url.path().starts_with(&cookie.path)
            })
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!cookies.is_empty()).then(|| cookies.join("; "))
    }

    fn keep(&mut self, url: &Url, set_cookie: &str) {
        let mut parts = set_cookie
            .split(';')
            .map(|part| part.trim().split_once('='));
        let Some(Some((name, value))) = parts.next() else {
            return;
        };
        let attributes: Vec<_> = parts.flatten().collect();
        let attribute = |wanted: &str| {
            let found = attributes
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| *value)
        };
        let host = url.host_str().unwrap_or_default();
        self.cookies
            .retain(|cookie| cookie.name != name || cookie.host != host);
        if attribute("max-age") != Some("0") {
            self.cookies.push(Cookie {
                host: host.to_owned(),
                path: attribute("path").unwrap_or("/").to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }
}

impl Landed {
    /// The page, where one was due.
    pub fn page(self, expected: &str) -> Result<Page, Unexpected> {
        match self {
            Self::Page(page) if page.status.is_success() => Ok(page),
            Self::Page(page) => Err(Unexpected::new(expected, page.describe())),
            Self::Answer(url) => {
                let error = url.query_pairs().find(|(name, _)| name == "error");
                Err(Unexpected::new(
                    expected,
                    error.map_or_else(
                        || "the redirect back to the client".to_owned(),
                        |(_, error)| format!("the error {error} at the client"),
                    ),
                ))
            }
        }
    }

    /// The client's answer, where it was due.
    pub fn answer(self, expected: &str) -> Result<Url, Unexpected> {
        match self {
            Self::Answer(url) => Ok(url),
            Self::Page(page) => Err(Unexpected::new(expected, page.describe())),
        }
    }
}

impl Page {
    /// The page, if this text is on it.
    pub fn mentions(self, text: &str) -> Result<Self, Unexpected> {
        if self.html.contains(text) {
            return Ok(self);
        }
        Err(Unexpected::new(
            format!("a page that mentions {text:?}"),
            self.describe(),
        ))
    }

    /// The page, if this site sent it.
    pub fn comes_from(self, site: &str) -> Result<Self, Unexpected> {
        if self.url.origin().ascii_serialization() == site {
            return Ok(self);
        }
        Err(Unexpected::new(
            format!("a page of {site}"),
            self.url.path(),
        ))
    }

    /// Where the form goes, and its hidden fields.
    fn form(&self) -> Result<(Url, Vec<(String, String)>), Unexpected> {
        let no_form = || Unexpected::new("a page with a form", self.describe());
        let start = self.html.find("<form").ok_or_else(no_form)?;
        let form = self.html[start..]
            .split("</form>")
            .next()
            .unwrap_or_default();
        let action = attribute(form.split('>').next().unwrap_or_default(), "action");
        let action = self
            .url
            .join(&action.unwrap_or_default())
            .map_err(|_| no_form())?;
        let hidden = form
            .split("<input")
            .skip(1)
            .filter_map(|rest| rest.split('>').next())
            .filter(|tag| attribute(tag, "type").as_deref() == Some("hidden"))
            .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)));
        Ok((action, hidden.collect()))
    }

    /// Where `<meta http-equiv="refresh">` leads.
    fn refresh(&self) -> Option<String> {
        let (_, rest) = self.html.split_once("<meta http-equiv=\"refresh\"")?;
        let content = attribute(rest.split('>').next()?, "content")?;
        Some(content.split_once("url=")?.1.to_owned())
    }

    /// What the page is, for an error: its status and title.
    fn describe(&self) -> String {
        let title = self
            .html
            .split("<title>")
            .nth(1)
            .and_then(|rest| rest.split('<').next());
        format!(
            "a page with status {}: {}",
            self.status.as_u16(),
            title.unwrap_or("no title")
        )
    }
}

/// An attribute's value; ours are always double-quoted.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let value = rest.split('"').next()?;
    Some(
        value
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(html: &str) -> Page {
        Page {
            url: Url::parse("http://127.0.0.1:1/a/b?c=d").unwrap(),
            status: StatusCode::OK,
            html: html.to_owned(),
        }
    }

    #[test]
    fn a_form_gives_its_address_and_hidden_fields() {
        let page = page(
            "<form method=\"post\" action=\"/x?y=1&amp;z=2\"><input type=\"hidden\" name=\"t\" \
             value=\"&lt;q&quot;\"><input name=\"login\"></form><input type=\"hidden\" \
             name=\"outside\" value=\"1\">",
        );
        let (action, fields) = page.form().unwrap();
        assert_eq!(action.as_str(), "http://127.0.0.1:1/x?y=1&z=2");
        assert_eq!(fields, [("t".to_owned(), "<q\"".to_owned())]);
    }

    #[test]
    fn a_form_without_address_goes_where_it_came_from() {
        let (action, _) = page("<form method=\"post\"></form>").form().unwrap();
        assert_eq!(action.as_str(), "http://127.0.0.1:1/a/b?c=d");
        assert!(page("<p>nothing</p>").form().is_err());
    }

    #[test]
    fn cookies_are_kept_by_host_and_path_and_can_be_taken_back() {
        let mut browser = Browser::new(Url::parse("http://127.0.0.1:2/callback").unwrap()).unwrap();
        let url = Url::parse("http://127.0.0.1:1/oauth/callback/1").unwrap();
        browser.keep(&url, "a=1; Path=/oauth; HttpOnly; SameSite=Lax");
        browser.keep(&url, "b=2; Path=/elsewhere");
        assert_eq!(browser.cookies_for(&url).as_deref(), Some("a=1"));
        browser.keep(&url, "a=; Path=/oauth; Max-Age=0");
        assert_eq!(browser.cookies_for(&url), None);
    }
}
