//! What a full node is told of the client of a request that an edge node hands on.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Request};
use picloud_shared::request::{AdminPeer, Scheme};
use serde::{Deserialize, Serialize};

/// The header that tells it. On any other listener it is a header like all others, that nobody reads.
const PEER: HeaderName = HeaderName::from_static("picloud-peer");

/// A request does not say whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request does not tell whose it is")]
pub(super) struct UnknownPeer;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told<'t> {
    remote_ip: IpAddr,
    is_https: bool,
    authority: Cow<'t, str>,
    cookies_count: bool,
}

/// Says whose the request is, in the place of whatever the client says.
pub(super) fn tell<B>(request: &mut Request<B>) -> Result<(), UnknownPeer> {
    let peer = request.extensions_mut().remove::<AdminPeer>().ok_or(UnknownPeer)?;
    let told = Told {
        remote_ip: peer.remote_ip,
        is_https: peer.scheme == Scheme::Https,
        authority: Cow::Borrowed(&peer.authority),
        cookies_count: peer.cookies_count,
    };
    let told = serde_json::to_vec(&told).map_err(|_| UnknownPeer)?;
    request.headers_mut().insert(PEER, HeaderValue::from_bytes(&told).map_err(|_| UnknownPeer)?);
    Ok(())
}

/// Takes in whose the request is.
pub(super) fn hear<B>(request: &mut Request<B>) -> Result<(), UnknownPeer> {
    let told = request.headers_mut().remove(PEER).ok_or(UnknownPeer)?;
    let Told { remote_ip, is_https, authority, cookies_count } =
        serde_json::from_slice(told.as_bytes()).map_err(|_| UnknownPeer)?;
    let scheme = if is_https { Scheme::Https } else { Scheme::Http };
    let peer = AdminPeer { remote_ip, scheme, authority: authority.into(), cookies_count };
    request.extensions_mut().insert(peer);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_and_what_a_client_says_in_its_place_is_not() {
        for (authority, scheme) in
            [("pi.example.com", Scheme::Https), ("[::1]:8080", Scheme::Http), ("ä\"\\", Scheme::Http)]
        {
            let mut request = Request::new(());
            let forged = r#"{"remote_ip":"127.0.0.1","is_https":true,"authority":"evil","cookies_count":true}"#;
            request.headers_mut().append(PEER, HeaderValue::from_static(forged));
            request.headers_mut().append(PEER, HeaderValue::from_static(forged));
            let remote_ip = "2001:db8::7".parse().unwrap();
            request.extensions_mut().insert(AdminPeer {
                remote_ip,
                scheme,
                authority: authority.into(),
                cookies_count: false,
            });
            tell(&mut request).unwrap();
            assert!(request.extensions().get::<AdminPeer>().is_none());
            hear(&mut request).unwrap();
            assert!(request.headers().is_empty());
            let heard = request.extensions().get::<AdminPeer>().unwrap();
            assert_eq!((heard.remote_ip, heard.scheme, &*heard.authority), (remote_ip, scheme, authority));
            assert!(!heard.cookies_count);
        }
    }

    #[test]
    fn a_request_of_nobody_is_refused() {
        let mut request = Request::new(());
        assert_eq!(tell(&mut request), Err(UnknownPeer));
        assert_eq!(hear(&mut request), Err(UnknownPeer));
        request.headers_mut().insert(PEER, HeaderValue::from_static("{}"));
        assert_eq!(hear(&mut request), Err(UnknownPeer));
    }
}
