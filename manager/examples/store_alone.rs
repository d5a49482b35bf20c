//! SQLite with nothing around it but hyper: what `make bench` compares scripts with that read or write one entry.
//!
//! `store_alone ADDRESS FILE` answers `/kv/get` by what one row holds, read on the thread that took the request, and `/kv/set` once a
//! row is durable: one thread writes, and all writes that wait when it comes to them are one transaction. Both as PiCloud has its
//! data, with its pragmas; no accounts, no quotas, no scripts.

#![expect(clippy::expect_used, reason = "a tool fails by panicking")]

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rusqlite::Connection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const SCHEMA: &str = "PRAGMA journal_mode = wal; PRAGMA synchronous = full; PRAGMA mmap_size = 0;
    CREATE TABLE entries (app BLOB NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL, updated_at INTEGER NOT NULL,
        value BLOB NOT NULL, PRIMARY KEY (app, collection, key)) STRICT;
    INSERT INTO entries VALUES (zeroblob(16), 'default', 'hello', 0, CAST('\"Hello, World!\"' AS BLOB))";
const GET: &str = "SELECT value FROM entries WHERE app = zeroblob(16) AND collection = ?1 AND key = ?2";
const SET: &str = "INSERT INTO entries VALUES (zeroblob(16), ?1, ?2, ?3, ?4) \
    ON CONFLICT DO UPDATE SET updated_at = excluded.updated_at, value = excluded.value";
const ANSWER: &[u8] = b"Hello, World!";

thread_local! {
    static READER: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

struct Store {
    file: PathBuf,
    writer: Sender<oneshot::Sender<()>>,
}

impl Store {
    fn open(file: &Path) -> Self {
        let conn = Connection::open(file).expect("the file can be made");
        conn.execute_batch(SCHEMA).expect("the file is new");
        let (writer, waiting) = channel();
        std::thread::spawn(move || write(&conn, &waiting));
        Self { file: file.to_owned(), writer }
    }

    fn get(&self) -> Vec<u8> {
        READER.with_borrow_mut(|reader| {
            let reader = reader.get_or_insert_with(|| {
                let conn = Connection::open(&self.file).expect("the file is there");
                conn.execute_batch("PRAGMA query_only = on; PRAGMA mmap_size = 0").expect("these are pragmas");
                conn
            });
            let mut statement = reader.prepare_cached(GET).expect("it is a statement");
            let value: Vec<u8> = statement.query_row(("default", "hello"), |row| row.get(0)).expect("there is a row");
            // Without its quotes.
            value[1..value.len() - 1].to_vec()
        })
    }

    async fn set(&self) -> Vec<u8> {
        let (tell, told) = oneshot::channel();
        self.writer.send(tell).expect("the writer goes on");
        told.await.expect("the writer goes on");
        ANSWER.to_vec()
    }
}

fn write(conn: &Connection, waiting: &Receiver<oneshot::Sender<()>>) {
    let mut number = 0;
    while let Ok(first) = waiting.recv() {
        conn.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        let mut together = Vec::new();
        for tell in std::iter::once(first).chain(waiting.try_iter()) {
            number += 1;
            let mut statement = conn.prepare_cached(SET).expect("it is a statement");
            let value = format!("\"{number:036}\"");
            statement.execute(("default", "last", number, value.as_bytes())).expect("it can be written");
            together.push(tell);
        }
        conn.execute_batch("COMMIT").expect("it can be kept");
        for tell in together {
            // Whoever left meanwhile need not know.
            let _ = tell.send(());
        }
    }
}

async fn answer(path: &str, store: &Store) -> Response<Full<Bytes>> {
    let body = match path {
        "/kv/get" => store.get(),
        "/kv/set" => store.set().await,
        _ => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
    };
    Response::new(Full::from(body))
}

async fn serve(stream: TcpStream, store: Arc<Store>) {
    let answer = |request: Request<Incoming>| {
        let store = Arc::clone(&store);
        async move { Ok::<_, Infallible>(answer(request.uri().path(), &store).await) }
    };
    // A connection that ends with an error is the client's affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("the first argument is an address");
    let file = arguments.next().expect("the second argument is a file");
    let store = Arc::new(Store::open(Path::new(&file)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        loop {
            let (stream, _) = listener.accept().await.expect("connections can be taken");
            stream.set_nodelay(true).expect("a connection that was just taken is open");
            tokio::spawn(serve(stream, Arc::clone(&store)));
        }
    });
}
