//! The address where an authorization that took too long begins again: what the client asked for,
//! with nothing of the attempt that ended.
//!
//! It is shown to whoever holds the sealed request, so it opens nothing: it leads to the same
//! questions as the client's own link.

use domain::authorization::{AuthorizationRequest, Prompt};

use super::Urls;

/// The authorization request, as the client sent it.
pub fn url(urls: &Urls, request: &AuthorizationRequest) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &request.client_id.to_string())
        .append_pair("code_challenge", &request.code_challenge.to_string())
        .append_pair("code_challenge_method", "S256")
        .append_pair("resource", request.resource.as_str());
    if !request.scope.is_empty() {
        query.append_pair("scope", &request.scope.to_string());
    }
    if request.target.redirect_uri_given {
        query.append_pair("redirect_uri", request.target.redirect_uri.as_str());
    }
    if let Some(state) = &request.target.state {
        query.append_pair("state", state);
    }
    let prompts: Vec<&str> = request.prompt.iter().map(|prompt| word(*prompt)).collect();
    if !prompts.is_empty() {
        query.append_pair("prompt", &prompts.join(" "));
    }
    if let Some(max_age_s) = request.max_age_s {
        query.append_pair("max_age", &max_age_s.to_string());
    }
    let issuer = urls.issuer(request.proxy_id);
    format!("{issuer}/authorize?{}", query.finish())
}

fn word(prompt: Prompt) -> &'static str {
    match prompt {
        Prompt::Login => "login",
        Prompt::Consent => "consent",
        Prompt::SelectAccount => "select_account",
    }
}
