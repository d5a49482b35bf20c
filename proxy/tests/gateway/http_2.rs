//! The gateway by HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use picloud_proxy::tls::Certificates;
use picloud_shared::snapshot::PublishedApp;
use tokio::task::JoinHandle;

use super::support::certificate::{self, TlsClient};
use super::support::gateway::{TestApp, TestGateway, on_large_stacks};
use super::{ask, shop};

/// A gateway with a certificate for pi.test and shop.test, and a connection to it.
async fn by_http_2(
    apps: Vec<Arc<PublishedApp>>,
) -> (TestGateway, SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let dir = tempfile::tempdir().unwrap();
    let (files, trusted) = certificate::write(dir.path(), "pi", &["pi.test", "shop.test"]);
    let certificates = Arc::new(Certificates::load(vec![files]).unwrap());
    let gateway = TestGateway::start_with(apps, Some(certificates));
    let stream = TlsClient::new(&[&trusted], &["h2"]).connect(gateway.address, "pi.test").await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    (gateway, sender, tokio::spawn(connection))
}

async fn ask_http_2(sender: &mut SendRequest<Bytes>, method: &str, url: &str) -> http::Response<h2::RecvStream> {
    *sender = sender.clone().ready().await.unwrap();
    let request = http::Request::builder().method(method).uri(url).body(()).unwrap();
    sender.send_request(request, true).unwrap().0.await.unwrap()
}

#[test]
fn a_request_of_http_2_that_breaks_a_rule_ends_itself_alone() {
    on_large_stacks(async {
        let (_gateway, mut sender, _driven) = by_http_2(vec![shop().publish()]).await;
        for url in ["https://shop.test/../x", "https://shop.test:70000/", "https://shop.test/%00"] {
            assert_eq!(ask_http_2(&mut sender, "GET", url).await.status(), 400, "{url}");
        }
        assert_eq!(ask_http_2(&mut sender, "GET", "https://shop.test/").await.status(), 200);
    });
}

#[test]
fn a_script_finds_the_host_among_the_headers_whichever_protocol_named_it() {
    on_large_stacks(async {
        let app = || {
            let mut app = TestApp::new("shop", &["shop.test"]);
            app.route("GET", "/host", "ctx.request.headers.host + \" \" + ctx.request.headers.keys().len()");
            app.publish()
        };
        let plain = TestGateway::start(vec![app()]);
        let (_gateway, mut sender, _driven) = by_http_2(vec![app()]).await;
        for host in ["shop.test", "Shop.test:8443"] {
            let by_1_1 = ask(&plain, "GET", host, "/host").await;
            let mut by_2 = ask_http_2(&mut sender, "GET", &format!("https://{host}/host")).await.into_body();
            assert_eq!(by_1_1.body, format!("{host} 1"));
            assert_eq!(by_2.data().await.unwrap().unwrap(), by_1_1.body);
        }
    });
}

#[test]
fn a_request_of_http_2_is_of_its_connections_scheme() {
    on_large_stacks(async {
        let (_gateway, mut sender, _driven) = by_http_2(vec![shop().publish()]).await;
        for (url, status) in [
            ("https://shop.test/", 200),
            ("https://shop.test:443/", 200),
            ("http://shop.test/", 421),
            ("ftp://shop.test/", 421),
            ("https2://shop.test/", 421),
        ] {
            assert_eq!(ask_http_2(&mut sender, "GET", url).await.status(), status, "{url}");
        }
    });
}

#[test]
fn head_through_the_manager_ends_with_its_head_on_http_2() {
    on_large_stacks(async {
        let (_gateway, mut sender, driven) = by_http_2(Vec::new()).await;
        let mut ask = async |method| ask_http_2(&mut sender, method, "https://pi.test/api/v1/admin/apps").await;
        let head = ask("HEAD").await;
        assert_eq!(head.status(), 200);
        assert!(head.body().is_end_stream(), "no frame follows the head");
        let length = head.headers()["content-length"].clone();
        let mut body = ask("GET").await.into_body();
        // GET is one letter shorter where the body tells the method.
        let got = body.data().await.unwrap().unwrap().len() + 1;
        assert_eq!(length, got.to_string());
        assert!(!driven.is_finished());
    });
}
