//! Power cuts: of the data directory nothing is left but what was synced, as it was then. PostgreSQL sees to that itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::{Database, Home, OWNER, TestCloud, text};

/// Power cuts amid the load.
const ROUNDS: u32 = 8;

/// Keeps an entry, a document and a message, all by the name that the address gives.
const WRITER: &str = r#"
    let n = ctx.request.query.n;
    kv::set(n, n);
    let document = docs::collection("notes").insert(#{ n: n });
    #{ document: document, event: queue::send("idle", #{ n: n }) }
"#;

/// What was synced of a directory, by the numbers of inodes: the contents of files, and the names in directories.
struct Kept {
    library: PathBuf,
    data: PathBuf,
    kept: PathBuf,
}

impl Kept {
    /// Builds what keeps it beside the data.
    fn build(home: &Home) -> Self {
        let (library, kept) = (home.dir().join("withheld.so"), home.dir().join("kept"));
        fs::create_dir(&kept).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/power_cut/withheld.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).args(["-ldl", "-lpthread"]);
        assert!(compiler.status().unwrap().success());
        Self { library, data: home.dir().join("data"), kept }
    }

    fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("POWER_CUT_DATA", &self.data).env("POWER_CUT_KEPT", &self.kept);
    }

    /// Leaves of the data what was synced, and begins anew with that.
    fn cut(&self) {
        let before = self.data.with_extension("before");
        fs::rename(&self.data, &before).unwrap();
        self.rebuild(fs::metadata(&before).unwrap().ino(), &self.data);
        fs::remove_dir_all(&before).unwrap();
        fs::remove_dir_all(&self.kept).unwrap();
        fs::create_dir(&self.kept).unwrap();
        self.keep(&self.data);
    }

    fn rebuild(&self, directory: u64, to: &Path) {
        fs::create_dir(to).unwrap();
        let names = fs::read_to_string(self.kept.join(directory.to_string())).unwrap_or_default();
        for line in names.lines() {
            let (inode, name) = line.split_once(' ').unwrap();
            // Nothing of it was synced but its name.
            let content = fs::read(self.kept.join(inode)).unwrap_or_default();
            fs::write(to.join(name), content).unwrap();
            fs::set_permissions(to.join(name), Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// Keeps all that is there, as after a start.
    fn keep(&self, directory: &Path) {
        let mut names = String::new();
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, inode) = (entry.path(), entry.metadata().unwrap().ino());
            assert!(path.is_file(), "{}", path.display());
            names += &format!("{inode} {}\n", entry.file_name().to_str().unwrap());
            fs::copy(&path, self.kept.join(inode.to_string())).unwrap();
        }
        let inode = fs::metadata(directory).unwrap().ino();
        fs::write(self.kept.join(inode.to_string()), names).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_power_cuts_and_nothing_is_corrupt() {
    let home = Home::new(Database::Sqlite);
    let kept = Kept::build(&home);
    let mut cloud = TestCloud::start_with(home, |command| {
        command.env("PICLOUD_ADMIN_USERNAME", OWNER.0).env("PICLOUD_ADMIN_PASSWORD", OWNER.1);
        kept.apply(command);
    });
    cloud.sign_in(OWNER.1).await;
    let app = cloud.app("shop", "shop.test").await;
    let writer = cloud.script(&app, "writer", "endpoint", WRITER).await;
    cloud.route(&writer, "exact", "/", "GET").await;
    let (mut acknowledged, mut published) = (BTreeMap::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        for number in 0..4 {
            published.insert(cloud.script(&app, &format!("script-{round}-{number}"), "endpoint", "1").await);
        }
        acknowledged.extend(cloud.kill_amid_load(round, 20 + 11 * round).await);
        kept.cut();
        cloud.restart();
    }
    for script in &published {
        cloud.must(Method::GET, &format!("scripts/{script}"), None).await;
    }
    let entries = cloud.entries("default").await;
    let events: BTreeSet<_> = cloud.all("apps/shop/events").await.iter().map(|event| text(&event["id"])).collect();
    let documents = cloud.all("apps/shop/docs/notes").await;
    let documents: BTreeMap<_, _> = documents.iter().map(|document| (text(&document["id"]), document)).collect();
    for (n, answer) in &acknowledged {
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(entries.get(n), Some(&json!(n)), "{n}");
        assert!(events.contains(answer["event"].as_str().unwrap()), "{n}");
        let document = documents.get(answer["document"].as_str().unwrap());
        assert!(
            document.is_some_and(|document| document.to_string().contains(&format!("\"{n}\""))),
            "{n}: {document:?}"
        );
    }
    assert!(acknowledged.len() as u32 > 20 * ROUNDS, "{}", acknowledged.len());
    let (whole, said) = cloud.stop().run(&["audit", "verify"], "");
    assert!(whole, "{said}");
}
