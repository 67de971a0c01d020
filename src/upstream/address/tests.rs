//! Names that change, vanish and have several addresses, against a name server of our own on loopback.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// What the name server says to every question for an IPv4 address.
#[derive(Clone)]
enum Says {
    /// These addresses, with this TTL in seconds.
    Here(Vec<[u8; 4]>, u32),
    /// The name exists, but has no address.
    Nothing,
    /// There is no such name.
    NoSuchName,
}

struct Server {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(says: Says) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::new(Mutex::new(Vec::new())));
        let (now, questions) = (says.clone(), asked.clone());
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let (reply, is_v4) = answer(&question[..length], &now.lock().clone());
                if is_v4 {
                    questions.lock().push(Instant::now());
                }
                let _gone = socket.send_to(&reply, from).await;
            }
        });
        Server { address, says, asked, task }
    }

    fn say(&self, says: Says) {
        *self.says.lock() = says;
    }

    fn count(&self) -> usize {
        self.asked.lock().len()
    }

    /// Waits for so many questions in all.
    async fn until_asked(&self, times: usize) {
        until(&format!("{times} questions"), || self.count() >= times).await;
    }
}

async fn until(what: &str, met: impl Fn() -> bool) {
    let wait = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A whole DNS answer to a question, and whether it was for an IPv4 address. Questions for IPv6 get none.
fn answer(question: &[u8], says: &Says) -> (Vec<u8>, bool) {
    let name_end = 12 + question[12..].iter().position(|length| *length == 0).unwrap() + 1;
    let is_v4 = question[name_end..name_end + 2] == [0, 1];
    let (code, addresses, ttl) = match says {
        Says::Here(addresses, ttl) if is_v4 => (0, addresses.clone(), *ttl),
        Says::Here(..) | Says::Nothing => (0, Vec::new(), 0),
        Says::NoSuchName => (3, Vec::new(), 0),
    };
    let mut reply = question[..2].to_vec();
    // a response, recursion asked for and had; one question, the answers, nothing else
    reply.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    reply.extend(&question[12..name_end + 4]);
    for address in addresses {
        reply.extend([0xC0, 12, 0, 1, 0, 1]); // the question's name, A, IN
        reply.extend(ttl.to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(address);
    }
    (reply, is_v4)
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn here(lasts: &[u8], ttl: u32) -> Says {
    Says::Here(lasts.iter().map(|last| [10, 0, 0, *last]).collect(), ttl)
}

struct Fresh {
    address: Arc<Address>,
    task: JoinHandle<()>,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn keep_fresh(server: &Server, resolve: Duration) -> Fresh {
    let address = Address::new("engine.test", 80);
    let task = tokio::spawn(address.clone().keep_fresh(Names::Server(server.address), resolve));
    Fresh { address, task }
}

#[tokio::test]
async fn a_name_is_asked_again_when_its_answer_is_over_and_not_before() {
    let server = Server::start(here(&[1], 2)).await;
    let fresh = keep_fresh(&server, TRUST);
    assert_eq!(fresh.address.address().await, Ok(at(1)));
    server.say(here(&[2], 2));
    until("the new address", || fresh.address.get() == Some(at(2))).await;
    let asked = server.asked.lock().clone();
    let pause = asked[1] - asked[0];
    assert!(pause > Duration::from_millis(1900), "TTL 2 s, asked again after {pause:?}");
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn the_configured_bound_is_shorter_than_a_long_ttl_and_a_ttl_of_nothing_lasts_a_second() {
    let server = Server::start(here(&[1], 3600)).await;
    let _fresh = keep_fresh(&server, Duration::from_millis(1200));
    server.until_asked(2).await;
    let asked = server.asked.lock().clone();
    let pause = asked[1] - asked[0];
    assert!(pause > Duration::from_millis(1100), "resolve 1.2 s, asked again after {pause:?}");

    let server = Server::start(here(&[1], 0)).await;
    let _fresh = keep_fresh(&server, TRUST);
    server.until_asked(2).await;
    let asked = server.asked.lock().clone();
    let pause = asked[1] - asked[0];
    assert!(pause > Duration::from_millis(900), "TTL 0, asked again after {pause:?}");
}

#[tokio::test]
async fn the_last_good_address_stays_when_the_name_fails_or_is_empty() {
    for (silence, why) in [(Says::NoSuchName, "no such name"), (Says::Nothing, "no address")] {
        let server = Server::start(here(&[1], 1)).await;
        let fresh = keep_fresh(&server, TRUST);
        assert_eq!(fresh.address.address().await, Ok(at(1)));
        server.say(silence);
        until(why, || *fresh.address.looked.borrow() == Looked::Failed(why.into())).await;
        assert_eq!(fresh.address.address().await, Ok(at(1)));
        server.say(here(&[3], 1));
        until("the name back", || fresh.address.get() == Some(at(3))).await;
    }
}

#[tokio::test]
async fn a_name_that_never_resolved_says_why_and_is_found_later() {
    let server = Server::start(Says::NoSuchName).await;
    let fresh = keep_fresh(&server, TRUST);
    assert_eq!(fresh.address.address().await.unwrap_err(), "engine.test does not resolve: no such name");
    assert_eq!(fresh.address.get(), None);
    server.say(here(&[1], 1));
    until("the name", || fresh.address.get() == Some(at(1))).await;
}

#[tokio::test]
async fn an_address_in_use_stays_while_it_is_among_the_answers_in_whatever_order() {
    let server = Server::start(here(&[1, 2], 1)).await;
    let fresh = keep_fresh(&server, TRUST);
    let first = fresh.address.address().await.unwrap();
    assert!([at(1), at(2)].contains(&first));
    server.say(here(&[2, 3, 1], 1));
    server.until_asked(3).await;
    assert_eq!(fresh.address.get(), Some(first));
}

#[tokio::test]
async fn no_connection_moves_on_and_asks_again_long_before_the_ttl() {
    let server = Server::start(here(&[1], 3600)).await;
    let fresh = keep_fresh(&server, Duration::from_secs(3600));
    assert_eq!(fresh.address.address().await, Ok(at(1)));
    server.say(here(&[2], 3600));
    fresh.address.failed(at(1));
    assert_eq!(fresh.address.get(), Some(at(1)), "it is the only one yet");
    until("the new address", || fresh.address.get() == Some(at(2))).await;
}

#[tokio::test]
async fn the_hosts_file_and_literal_addresses_need_no_server() {
    let local = Names::System.look_up("localhost").await.unwrap();
    assert!(local.all.iter().all(IpAddr::is_loopback), "{local:?}");
    let literal = Address::new("[::1]", 8);
    assert_eq!(literal.address().await, Ok("[::1]:8".parse().unwrap()));
    // Returns, for there is nothing to ask for.
    literal.clone().keep_fresh(Names::System, TRUST).await;
    assert_eq!(Address::new("127.0.0.1", 8).get(), Some((Ipv4Addr::LOCALHOST, 8).into()));
    assert!(literal.is("::1", 8) && !literal.is("::1", 9));
}

#[test]
fn a_name_with_two_addresses_moves_on_when_one_fails() {
    let address = Address::new("engine.test", 80);
    address.found(vec![at(1).ip(), at(2).ip()]);
    assert_eq!(address.get(), Some(at(1)));
    address.failed(at(1));
    assert_eq!(address.get(), Some(at(2)));
    address.failed(at(1)); // an older attempt's failure changes nothing
    assert_eq!(address.get(), Some(at(2)));
    address.failed(at(2));
    assert_eq!(address.get(), Some(at(1)));
}
