//! Rhai with nothing around it but hyper: what `make bench` compares scripts with that only compute.
//!
//! `engine_alone ADDRESS PATH=SOURCE...` answers a path by what its source evaluates to, compiled once and run at each request on
//! the thread that read it: no limits, no meter, no record, and none of the executor, whose allocator counts.

#![expect(clippy::expect_used, reason = "a tool fails by panicking")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rhai::packages::{Package, StandardPackage};
use rhai::{AST, Dynamic, Engine, Scope};
use tokio::net::{TcpListener, TcpStream};

/// As PiCloud's threads have it.
const THREAD_STACK_BYTES: usize = 32 * 1024 * 1024;

struct Scripts {
    engine: Engine,
    by_path: HashMap<String, AST>,
}

impl Scripts {
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let Some(ast) = self.by_path.get(path) else {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        let value: Dynamic = self.engine.eval_ast_with_scope(&mut Scope::new(), ast).expect("the script runs");
        let mut response = Response::new(Full::from(value.to_string()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

async fn serve(stream: TcpStream, scripts: Arc<Scripts>) {
    let answer = |request: Request<Incoming>| {
        let response = scripts.answer(request.uri().path());
        async { Ok::<_, Infallible>(response) }
    };
    // A connection that ends with an error is the client's affair.
    let _ =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("the first argument is an address");
    let mut engine = Engine::new_raw();
    StandardPackage::new().register_into_engine(&mut engine);
    let by_path = arguments.map(|argument| {
        let (path, source) = argument.split_once('=').expect("an argument is PATH=SOURCE");
        (path.to_owned(), engine.compile(source).expect("the source compiles"))
    });
    let scripts = Arc::new(Scripts { by_path: by_path.collect(), engine });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .expect("threads can be started");
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        loop {
            let (stream, _) = listener.accept().await.expect("connections can be taken");
            stream.set_nodelay(true).expect("a connection that was just taken is open");
            tokio::spawn(serve(stream, Arc::clone(&scripts)));
        }
    });
}
