//! A tab, and what can be done and seen in it.
//!
//! Events are read in order and each is waited for at most once: a step of a test begins where
//! the last one ended, so nothing that happened in between is missed and nothing is polled.

use std::sync::Arc;

use serde_json::{Value, json};
use url::Url;

use crate::chromium::{Event, Heard, Link};

pub struct Tab {
    link: Arc<Link>,
    session: String,
    /// How many events have been read.
    seen: usize,
}

/// A request that the tab made or was sent to.
#[derive(Clone, Debug)]
pub struct Request {
    pub url: String,
    /// The page it was made for.
    pub page: String,
}

impl Tab {
    pub async fn attach(link: Arc<Link>, session: &str) -> Self {
        let tab = Self {
            link,
            session: session.to_owned(),
            seen: 0,
        };
        for domain in ["Page", "Network", "Runtime", "Log", "Audits"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab
    }

    /// Sends a command of the protocol.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        self.link.call(Some(&self.session), method, params).await
    }

    /// Opens an address and waits for the page that comes of it.
    pub async fn open(&mut self, url: &str) {
        let navigated = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(navigated["errorText"].is_null(), "{url}: {navigated}");
        self.loaded("").await;
    }

    /// Waits for the next page whose address begins so; its address.
    pub async fn loaded(&mut self, address: &str) -> Url {
        let is_it = |event: &Event| {
            let frame = &event.params["frame"];
            let url = frame["url"].as_str().unwrap_or_default();
            (frame["parentId"].is_null() && url.starts_with(address)).then(|| url.to_owned())
        };
        let url = self.next("Page.frameNavigated", is_it).await;
        self.next("Page.loadEventFired", |_| Some(())).await;
        Url::parse(&url).unwrap()
    }

    /// Waits until the tab is sent to an address that begins so, whether or not anything is there.
    pub async fn sent_to(&mut self, address: &str) -> Url {
        let is_it = |event: &Event| {
            let is_page = event.params["type"] == "Document";
            let url = event.params["request"]["url"].as_str().unwrap_or_default();
            (is_page && url.starts_with(address)).then(|| url.to_owned())
        };
        let url = self.next("Network.requestWillBeSent", is_it).await;
        Url::parse(&url).unwrap()
    }

    /// Clicks with the mouse on the middle of an element.
    pub async fn click(&self, selector: &str) {
        self.click_at(&self.middle(selector).await).await;
    }

    /// Where the middle of an element is; not known while a new page is under way.
    pub async fn middle(&self, selector: &str) -> Value {
        let middle = format!(
            "(() => {{ const element = document.querySelector({selector:?});
                element.scrollIntoView({{ block: 'center' }});
                const box = element.getBoundingClientRect();
                return {{ x: box.x + box.width / 2, y: box.y + box.height / 2 }}; }})()"
        );
        self.evaluate(&middle).await
    }

    pub async fn click_at(&self, place: &Value) {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "button": "left", "clickCount": 1,
                "x": place["x"], "y": place["y"],
            });
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Writes into an input.
    pub async fn write(&self, selector: &str, text: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).focus()"))
            .await;
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Presses and releases a key that is its own code, such as `Tab` or `Enter`.
    pub async fn press(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => panic!("no code for {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// The value of an expression in the page, awaited if it is a promise.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let result = self.call("Runtime.evaluate", params).await;
        let exception = &result["exceptionDetails"];
        assert!(exception.is_null(), "{expression}: {exception:#}");
        result["result"]["value"].clone()
    }

    /// The text that a person can read on the page.
    pub async fn text(&self) -> String {
        let text = self.evaluate("document.body.innerText").await;
        text.as_str().unwrap().to_owned()
    }

    /// The status of each answer to a request with this method (preflights have `OPTIONS`),
    /// once there are so many.
    pub async fn statuses(&self, method: &str, address: &str, at_least: usize) -> Vec<u64> {
        let find = |heard: &Heard| {
            let requests = events(heard, &self.session, "Network.requestWillBeSent");
            let requests: Vec<_> = requests
                .filter(|params| params["request"]["method"] == method)
                .filter(|params| params["request"]["url"] == address)
                .map(|params| &params["requestId"])
                .collect();
            let answers = events(heard, &self.session, "Network.responseReceivedExtraInfo");
            let statuses: Vec<_> = answers
                .filter(|params| requests.contains(&&params["requestId"]))
                .map(|params| params["statusCode"].as_u64().unwrap())
                .collect();
            (statuses.len() >= at_least).then_some(statuses)
        };
        self.link.wait("answer", find).await
    }

    /// Every request so far, redirects included.
    pub fn requests(&self) -> Vec<Request> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.link.look(|heard| {
            let requests = events(heard, &self.session, "Network.requestWillBeSent");
            let requests = requests.map(|params| Request {
                url: text(&params["request"]["url"]),
                page: text(&params["documentURL"]),
            });
            requests.collect()
        })
    }

    /// Everything the browser complained about: console, exceptions, blocked content and cookies,
    /// and dialogs, which no page of ours may open. That a page came with an error status is none.
    pub async fn complaints(&self) -> Vec<String> {
        // What the page has caused by now is said before this is answered.
        self.evaluate("0").await;
        self.link.look(|heard| {
            let requests = events(heard, &self.session, "Network.requestWillBeSent");
            let pages: Vec<_> = requests
                .filter(|params| params["type"] == "Document")
                .map(|params| &params["requestId"])
                .collect();
            let own = heard.events.iter().filter(|event| {
                let request = &event.params["entry"]["networkRequestId"];
                event.session == self.session && !pages.contains(&request)
            });
            own.filter_map(complaint).collect()
        })
    }

    /// Waits for the next event of this name in which `find` finds something.
    async fn next<T>(&mut self, method: &str, find: impl Fn(&Event) -> Option<T>) -> T {
        let (from, session) = (self.seen, self.session.as_str());
        let (at, found) = self
            .link
            .wait(method, |heard| {
                let unread = heard.events.iter().enumerate().skip(from);
                unread
                    .filter(|(_, event)| event.session == session && event.method == method)
                    .find_map(|(at, event)| Some((at, find(event)?)))
            })
            .await;
        self.seen = at + 1;
        found
    }
}

/// What came with each event of this name.
fn events<'a>(
    heard: &'a Heard,
    session: &'a str,
    method: &'a str,
) -> impl Iterator<Item = &'a Value> {
    let events = heard.events.iter();
    events
        .filter(move |event| event.session == session && event.method == method)
        .map(|event| &event.params)
}

fn complaint(event: &Event) -> Option<String> {
    let params = &event.params;
    let is_one = match event.method.as_str() {
        "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => {
            true
        }
        "Log.entryAdded" => params["entry"]["level"] != "verbose",
        "Audits.issueAdded" => {
            let code = params["issue"]["code"].as_str().unwrap_or_default();
            [
                "ContentSecurityPolicyIssue",
                "CookieIssue",
                "QuirksModeIssue",
            ]
            .contains(&code)
        }
        _ => false,
    };
    is_one.then(|| format!("{} {params}", event.method))
}
