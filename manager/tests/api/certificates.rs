//! Certificates over the API, as far as no authority is needed for it.

use picloud_manager::ManagerConfig;
use picloud_manager::certificate_store::Certificates;
use picloud_manager::repo::role::AppRole;
use picloud_manager::store::Store;
use picloud_shared::certificate::{CertificateStore, InternalAuthority, PrivateKey};
use picloud_shared::clock::Clock;

use crate::world::{SECRET_KEY, World, config};

/// Gives the instance an authority of its own with that root.
pub async fn found_authority(world: &World, root: &str) {
    let store = Certificates::new(world.store.clone(), world.clock.clone(), &SECRET_KEY);
    let key = |text: &str| PrivateKey::new(text.to_owned());
    let authority = InternalAuthority {
        root: root.to_owned(),
        root_key: key("the root's key"),
        intermediate: "an intermediate".to_owned(),
        intermediate_key: key("its key"),
        intermediate_not_after: world.clock.now(),
    };
    store.save_internal_authority(&authority, None).await.unwrap();
}

async fn whoever_is_signed_in_may_download_the_root_and_nothing_of_its_key(store: &Store) {
    let world = World::start(store).await;
    let owner = world.owner().await;
    let app = owner.make_app("shop").await;
    let member = world.member("mia", &app, AppRole::Viewer).await;
    let absent = member.get("/certificates:internal-root").await.problem(404, "not_found");
    assert!(absent["detail"].as_str().unwrap().contains("made for the first name that needs it"), "{absent}");
    found_authority(&world, "-----BEGIN CERTIFICATE-----\n").await;
    let root = member.get("/certificates:internal-root").await;
    assert_eq!(root.header("content-type"), "application/x-x509-ca-cert");
    assert_eq!(root.header("content-disposition"), "attachment; filename=\"picloud-root.crt\"");
    assert_eq!((root.status.as_u16(), root.text()), (200, "-----BEGIN CERTIFICATE-----\n".to_owned()));
    world.stranger().get("/certificates:internal-root").await.problem(401, "unauthenticated");
}

async fn lists_tell_whether_certificates_come_by_themselves(store: &Store) {
    let first = World::start(store).await;
    first.owner().await.make_app("shop").await;
    for automatic_certificates in [true, false] {
        let world = World::start_with(store, ManagerConfig { automatic_certificates, ..config() }).await;
        let owner = world.owner().await;
        for list in ["/certificates", "/apps/shop/domains"] {
            assert_eq!(owner.get(list).await.is(200)["automatic_certificates"], automatic_certificates, "{list}");
        }
    }
}

on_both! {
    whoever_is_signed_in_may_download_the_root_and_nothing_of_its_key,
    lists_tell_whether_certificates_come_by_themselves,
}
