//! What it costs to know who is calling: `cargo bench --bench auth`.
//!
//! HS256 tokens of 4,096 customers in turn, as a rush brings them: verified anew each time (0), and remembered. One iteration is all of them.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use divan::{Bencher, black_box};
use stampede::auth::{Auth, mint};
use stampede::config::{ByteSize, Config, Secret};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: u64 = 1_800_000_000;

fn main() {
    divan::main();
}

#[divan::bench(args = [0, 64 << 20], threads = [1, 2])]
fn identify(bencher: Bencher<'_, '_>, cache_bytes: u64) {
    let mut config = Config::defaults().auth;
    config.hs256_secret = Some(Secret::new("a secret of at least thirty-two bytes"));
    config.token_cache = ByteSize(cache_bytes);
    let auth = Auth::new(&config).unwrap();
    let header = |number| {
        let token = mint(&config, &format!("customer-{number}"), Duration::from_secs(3600), NOW).unwrap();
        format!("Bearer {token}")
    };
    let headers: Vec<String> = (0..4096).map(header).collect();
    let identified = || headers.iter().filter(|header| auth.identify(Some(black_box(header)), NOW).is_ok()).count();
    assert_eq!(identified(), headers.len());
    bencher.counter(headers.len()).bench(identified);
}
