//! What systemd gives and is told, with the test in its place.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::*;

/// Sockets as systemd gives them: open files in a row, which no other process than the one that is started is to have.
struct Given {
    files: Vec<OwnedFd>,
    names: String,
}

impl Given {
    fn new(sockets: &[(&str, &dyn AsFd)]) -> Self {
        let mut first = 100;
        let files = loop {
            let files: Vec<OwnedFd> =
                sockets.iter().map(|(_, socket)| fcntl_dupfd_cloexec(socket.as_fd(), first).unwrap()).collect();
            let is_row = files.iter().zip(first..).all(|(file, number)| file.as_raw_fd() == number);
            if is_row {
                break files;
            }
            first += 1;
        };
        for file in &files {
            fcntl_setfd(file, FdFlags::empty()).unwrap();
        }
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        Self { files, names: names.join(":") }
    }

    /// The same command, given these.
    fn to(&self, command: &Command) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$@\"", "sh"]);
        shell.arg(command.get_program()).args(command.get_args()).env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("LISTEN_FDS", self.files.len().to_string()).env("LISTEN_FDNAMES", &self.names);
        shell.env("LISTEN_FDS_FIRST_FD", self.files[0].as_raw_fd().to_string());
        shell
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// What systemd is told, without that all is well.
async fn told(line: &UnixDatagram) -> String {
    let mut text = [0; 256];
    loop {
        let length = timeout(PATIENCE, line.recv(&mut text)).await.expect("something is told").unwrap();
        let text = std::str::from_utf8(&text[..length]).unwrap();
        if text != "WATCHDOG=1" {
            return text.to_owned();
        }
    }
}

async fn until_all_is_well(line: &UnixDatagram) {
    let mut text = [0; 256];
    loop {
        let length = timeout(PATIENCE, line.recv(&mut text)).await.expect("something is told").unwrap();
        if &text[..length] == b"WATCHDOG=1" {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_systemd_are_listened_on_by_name_and_kept_over_an_upgrade_and_a_restart() {
    let ((http, http_at), (internal, internal_at)) = (listener(), listener());
    let given = Given::new(&[("internal", &internal), ("http", &http)]);
    // The settings say what cannot be listened on.
    let mut cloud = Upgraded::start(Database::Sqlite, |command, _| {
        command.args(["--http", "192.0.2.1:1", "--internal", "192.0.2.1:2"]);
        command.env_remove("PICLOUD_HTTP");
        *command = given.to(command);
    })
    .await;
    assert_eq!(cloud.address("http"), http_at);
    assert_eq!(cloud.internal(), format!("http://{internal_at}"));
    cloud.publish("`1`").await;
    cloud.upgraded();
    assert_eq!(cloud.visit("shop.test", "/").await, (200, "1".to_owned()));
    let ready = async || reqwest::get(format!("http://{internal_at}/readyz")).await.unwrap().status();
    assert_eq!(ready().await, 200);
    assert_eq!(cloud.first_ended().await.code(), Some(0));

    // While nobody serves, connections wait.
    cloud.send("-TERM");
    let begun = Instant::now();
    while cloud.is_served() {
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut waiting = RawClient::connect(http_at).await;
    waiting.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await.unwrap();
    cloud.restart();
    assert_eq!(waiting.read_answer().await.body, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_of_each_step_and_that_all_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let line = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    // A second between two words of the watchdog: ten of them fill the socket, which is not read while an upgrade is waited for.
    let mut cloud = Upgraded::start(Database::Sqlite, |command, _| {
        command.env("NOTIFY_SOCKET", dir.path().join("notify")).env("WATCHDOG_USEC", "2000000");
    })
    .await;
    let first = cloud.serving();
    assert_eq!(told(&line).await, "READY=1");
    until_all_is_well(&line).await;
    until_all_is_well(&line).await;

    cloud.send("-HUP");
    let reloading = told(&line).await;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(&line).await, "READY=1");

    cloud.install_script("exit 1");
    let (done, said) = cloud.upgrade();
    assert!(!done, "{said}");
    until_all_is_well(&line).await;
    cloud.install_real();
    // As long as the rest of a head is awaited, the old process is there.
    let mut begun = RawClient::connect(cloud.address("http")).await;
    begun.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    begun.all_read().await;
    cloud.upgraded();
    assert_ne!(cloud.serving(), first);
    // Of another process's child systemd would not see the end, nor wait for it.
    let status = std::fs::read_to_string(format!("/proc/{}/status", cloud.serving())).unwrap();
    assert!(cloud.process().has_ended().is_none());
    assert!(!status.lines().any(|line| line == format!("PPid:\t{first}")), "{status}");
    drop(begun);
    // Nothing of the attempt that failed, and nothing of an end.
    assert_eq!(told(&line).await, format!("MAINPID={}", cloud.serving()));
    assert_eq!(told(&line).await, "READY=1");
    assert_eq!(cloud.first_ended().await.code(), Some(0));
    until_all_is_well(&line).await;

    cloud.send("-TERM");
    assert_eq!(told(&line).await, "STOPPING=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_is_asked_for_during_an_upgrade_is_done_by_the_new_process() {
    let dir = tempfile::tempdir().unwrap();
    let line = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    let mut cloud = Upgraded::start(Database::Sqlite, |command, _| {
        command.env("NOTIFY_SOCKET", dir.path().join("notify"));
    })
    .await;
    assert_eq!(told(&line).await, "READY=1");
    let (begun, go) = (dir.path().join("begun"), dir.path().join("go"));
    cloud.install_script(&format!(
        "touch {}; while ! [ -e {} ]; do sleep 0.01; done; exec {} \"$@\"",
        begun.display(),
        go.display(),
        env!("CARGO_BIN_EXE_picloud")
    ));
    cloud.send("-QUIT");
    while !begun.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cloud.send("-HUP");
    File::create(&go).unwrap();
    assert!(told(&line).await.starts_with("MAINPID="));
    while !told(&line).await.starts_with("RELOADING=1") {}
    assert_eq!(cloud.first_ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_systemd_that_nobody_listens_on_are_refused_by_name_or_address() {
    let home = Home::new(Database::Sqlite);
    let (tcp, address) = listener();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let start = |name: &str, socket: &dyn AsFd| {
        let given = Given::new(&[(name, socket)]);
        let command = home.command(&["serve", "--dev", "--http", "127.0.0.1:0"]);
        crate::cloud::run(&mut given.to(&command), "")
    };
    let (started, said) = start("web", &tcp);
    assert!(!started && said.contains(&format!("a socket for {address}, which is none of")), "{said}");
    let (started, said) = start("https", &tcp);
    assert!(!started && said.contains("there is no certificate"), "{said}");
    let (started, said) = start("http", &udp);
    assert!(!started && said.contains("the socket http of systemd cannot be used"), "{said}");

    // One without a name of ours is found by its address.
    let given = Given::new(&[("web", &tcp)]);
    let cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_HTTP", address.to_string());
        *command = given.to(command);
    });
    assert_eq!((cloud.address("http"), cloud.visit("shop.test", "/").await.0), (address, 404));
}
