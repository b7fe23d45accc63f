//! One address in front of several servers, as a balancer gives them: connections go to one after the other, and past those
//! that are away.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// It ends with this value; its connections end by themselves.
pub struct Front {
    pub address: String,
    servers: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
}

impl Front {
    /// Listens, in front of one server.
    pub fn open(server: &str) -> Result<Front> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let front = Front {
            address: listener.local_addr()?.to_string(),
            servers: Arc::new(Mutex::new(vec![server.to_owned()])),
            ends: Arc::default(),
        };
        let (servers, ends) = (front.servers.clone(), front.ends.clone());
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(client) = client {
                    let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let first = number % servers.len();
                    servers.rotate_left(first);
                    let _ = join(client, &servers);
                }
            }
        });
        Ok(front)
    }

    /// Has another server behind it.
    pub fn add(&self, server: &str) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).push(server.to_owned());
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // It looks when somebody comes.
        let _ = TcpStream::connect(&self.address);
    }
}

/// Joins a client to the first server that is there.
fn join(client: TcpStream, servers: &[String]) -> std::io::Result<()> {
    let Some(server) = servers.iter().find_map(|server| TcpStream::connect(server).ok()) else { return Ok(()) };
    let back = (server.try_clone()?, client.try_clone()?);
    for (mut from, mut to) in [(client, server), back] {
        from.set_nodelay(true)?;
        thread::spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
