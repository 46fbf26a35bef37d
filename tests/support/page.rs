//! Pages as a browser sees them: links and forms.
//!
//! A tolerant scanner over plain HTML, enough for our own pages and the provider's; not a parser.

use reqwest::header::HeaderMap;
use url::Url;

/// Where the browser stands: a page, or (with an empty body) a URL it was told to stop at.
#[derive(Debug)]
pub struct Page {
    /// The address the browser shows.
    pub url: Url,
    /// The status; of the redirect, if the browser stopped at its target.
    pub status: u16,
    /// The headers that came with it.
    pub headers: HeaderMap,
    /// The HTML.
    pub body: String,
}

/// One `<form>`.
#[derive(Debug)]
pub struct Form {
    /// Where it is submitted to, absolute.
    pub action: Url,
    /// Names and values of its inputs, in their order.
    pub inputs: Vec<(String, String)>,
    /// Names and values of its named buttons, in their order.
    pub buttons: Vec<(String, String)>,
}

impl Page {
    /// A query parameter of the page's address.
    pub fn param(&self, name: &str) -> Option<String> {
        let mut values = self.url.query_pairs().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.into_owned());
        assert!(values.next().is_none(), "{name} came twice: {}", self.url);
        value
    }

    /// A header's value; empty if the header is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("the header is text"))
    }

    /// The first form, if there is one.
    pub fn form(&self) -> Option<Form> {
        let start = find_tag(&self.body, "form")?;
        let end = self.body[start..]
            .find("</form")
            .map_or(self.body.len(), |at| start + at);
        let html = &self.body[start..end];
        let action = attribute(tags(html, "form").next()?, "action").unwrap_or_default();
        Some(Form {
            action: self.url.join(&action).expect("a form's action is a URL"),
            inputs: named(html, "input"),
            buttons: named(html, "button"),
        })
    }

    /// The target of the first link whose address contains `part`.
    pub fn link(&self, part: &str) -> Option<Url> {
        let hrefs = tags(&self.body, "a").filter_map(|tag| attribute(tag, "href"));
        hrefs
            .filter(|href| href.contains(part))
            .find_map(|href| self.url.join(&href).ok())
    }
}

fn named(html: &str, tag: &str) -> Vec<(String, String)> {
    tags(html, tag)
        .filter_map(|tag| {
            Some((
                attribute(tag, "name")?,
                attribute(tag, "value").unwrap_or_default(),
            ))
        })
        .collect()
}

/// The offset of the first `<name` that is followed by a space, `>` or `/`.
fn find_tag(html: &str, name: &str) -> Option<usize> {
    let open = format!("<{name}");
    html.match_indices(&open)
        .map(|(at, _)| at)
        .find(|at| !html[at + open.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '-'))
}

fn tags<'a>(html: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = html;
    std::iter::from_fn(move || {
        let tag = &rest[find_tag(rest, name)?..];
        let end = tag.find('>')?;
        rest = &tag[end..];
        Some(&tag[..end])
    })
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let at = tag.find(&format!(" {name}="))? + name.len() + 2;
    let quote = tag[at..]
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''))?;
    let value = tag[at + 1..].split(quote).next()?;
    Some(
        [
            "&lt;<", "&gt;>", "&quot;\"", "&#34;\"", "&#39;'", "&#x27;'", "&amp;&",
        ]
        .iter()
        .fold(value.to_owned(), |text, pair| {
            let (entity, character) = pair.split_at(pair.len() - 1);
            text.replace(entity, character)
        }),
    )
}
