//! The links of the tests themselves: what they cut is cut, what they hold arrives, and nothing is made up.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::proxy::{Door, Link, Way};

/// How long nothing must come for us to say that nothing comes.
const SILENCE: Duration = Duration::from_millis(100);

/// Two ends with a link between them.
struct Wire {
    link: Link,
    near: TcpStream,
    far: TcpStream,
    listener: TcpListener,
}

impl Wire {
    fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let link = Link::to(&Door::at(listener.local_addr().unwrap()));
        let near = TcpStream::connect(link.address()).unwrap();
        let (far, _) = listener.accept().unwrap();
        Self { link, near, far, listener }
    }
}

#[track_caller]
fn hears(end: &mut TcpStream, text: &str) {
    end.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut heard = vec![0; text.len()];
    end.read_exact(&mut heard).unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

#[track_caller]
fn hears_nothing(end: &mut TcpStream) {
    end.set_read_timeout(Some(SILENCE)).unwrap();
    let heard = end.read(&mut [0; 64]);
    assert!(heard.is_err(), "{heard:?}");
}

#[test]
fn a_way_that_is_cut_is_silent_and_what_was_said_arrives_after_mending() {
    let Wire { link, mut near, mut far, listener: _listener } = Wire::new();
    near.write_all(b"one").unwrap();
    hears(&mut far, "one");
    link.cut(Way::There);
    near.write_all(b"two").unwrap();
    hears_nothing(&mut far);
    far.write_all(b"the other way goes on").unwrap();
    hears(&mut near, "the other way goes on");
    link.mend();
    near.write_all(b", three").unwrap();
    hears(&mut far, "two, three");
}

#[test]
fn with_both_ways_cut_nobody_hears_and_nobody_is_told() {
    let Wire { link, mut near, mut far, listener } = Wire::new();
    link.cut_both_ways();
    near.write_all(b"here").unwrap();
    far.write_all(b"there").unwrap();
    hears_nothing(&mut far);
    hears_nothing(&mut near);
    listener.set_nonblocking(true).unwrap();
    let _late = TcpStream::connect(link.address()).unwrap();
    std::thread::sleep(SILENCE);
    assert!(listener.accept().is_err(), "a new connection needs both ways");
    link.mend();
    hears(&mut far, "here");
    hears(&mut near, "there");
    listener.set_nonblocking(false).unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_slow_link_is_late_and_not_narrow() {
    let Wire { link, mut near, mut far, listener: _listener } = Wire::new();
    link.delay(SILENCE);
    let began = Instant::now();
    for _ in 0..50 {
        near.write_all(b"ten bytes.").unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    hears(&mut far, "ten bytes.");
    assert!(began.elapsed() >= SILENCE, "{:?}", began.elapsed());
    hears(&mut far, &"ten bytes.".repeat(49));
    assert!(began.elapsed() < SILENCE * 20, "delays do not add up: {:?}", began.elapsed());
}

#[test]
fn a_severed_connection_ends_and_an_end_is_passed_on() {
    let Wire { link, mut near, mut far, listener } = Wire::new();
    link.sever();
    assert_eq!((near.read(&mut [0; 8]).unwrap(), far.read(&mut [0; 8]).unwrap()), (0, 0));
    let mut again = TcpStream::connect(link.address()).unwrap();
    let (far, _) = listener.accept().unwrap();
    drop(far);
    assert_eq!(again.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn behind_a_closed_door_nobody_answers() {
    let door = Door::default();
    let link = Link::to(&door);
    assert_eq!(TcpStream::connect(link.address()).unwrap().read(&mut [0; 8]).unwrap(), 0);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    door.open(listener.local_addr().unwrap());
    TcpStream::connect(link.address()).unwrap().write_all(b"anybody?").unwrap();
    hears(&mut listener.accept().unwrap().0, "anybody?");
}
