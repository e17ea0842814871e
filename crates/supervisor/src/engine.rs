//! The supervisor's main loop: tells the machines what happens and does what they want.
//!
//! One thread, for as long as the process lives: it forks (the kernel ties a child's death signal to the forking thread),
//! reaps, signals and keeps the time. Everything that can block is elsewhere: probes, logs, clients.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::time::Timespec;

use super::exit::Exit;
use super::log::Log;
use super::machine::{Action, Asked, Event, Phase};
use super::notify::Notify;
use super::process::Processes;
use super::service::{Probe, Service, User};
use super::set::Set;
use super::status::Status;
use super::sys::{self, Signals};
use super::view::View;

const SIGNALS: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;

/// What other threads tell the main loop.
pub enum Message {
    /// A probe's answer.
    Answer { service: usize, asked: Asked, instance: u64, answer: Result<(), String> },
    /// A client's wish.
    Stop,
    /// A client's wish.
    Restart(usize),
}

/// Where they tell it.
#[derive(Clone)]
pub struct Mailbox {
    sender: Sender<Message>,
    wake: Arc<OwnedFd>,
}

impl Mailbox {
    pub fn send(&self, message: Message) {
        if self.sender.send(message).is_ok() {
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}

/// The running set.
pub struct Engine {
    services: Vec<Service>,
    set: Set,
    processes: Processes,
    view: View,
    log: Arc<Log>,
    notify: Notify,
    /// To the guard: messages for systemd and the last words.
    guard: OwnedFd,
    guard_pid: i32,
    ignore_hup: bool,
    signals: Signals,
    poll: OwnedFd,
    mailbox: Mailbox,
    messages: Receiver<Message>,
    /// The signal that asked for the stop.
    asked_by: Option<i32>,
}

/// What an engine is made of.
pub struct Parts {
    pub services: Vec<Service>,
    pub set: Set,
    pub processes: Processes,
    pub log: Arc<Log>,
    pub guard: OwnedFd,
    pub guard_pid: i32,
    pub ignore_hup: bool,
    pub status: Status,
}

impl Engine {
    pub fn new(parts: Parts) -> io::Result<Engine> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let signals = Signals::new()?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&poll, signals.as_fd(), epoll::EventData::new_u64(SIGNALS), epoll::EventFlags::IN)?;
        epoll::add(&poll, &*wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let (sender, messages) = channel();
        Ok(Engine {
            view: View::new(&parts.services, parts.status),
            services: parts.services,
            set: parts.set,
            processes: parts.processes,
            log: parts.log,
            notify: Notify::from_env(),
            guard: parts.guard,
            guard_pid: parts.guard_pid,
            ignore_hup: parts.ignore_hup,
            signals,
            poll,
            mailbox: Mailbox { sender, wake },
            messages,
            asked_by: None,
        })
    }

    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    /// What the control socket answers from.
    pub fn status(&self) -> Arc<Mutex<Status>> {
        self.view.shared()
    }

    /// Runs until everything is down; the exit status.
    pub fn run(&mut self) -> u8 {
        let actions = self.set.begin(sys::now());
        self.act(actions);
        loop {
            self.publish();
            if self.set.is_over() {
                return self.end();
            }
            self.wait();
            let actions = self.set.tick(sys::now());
            self.act(actions);
        }
    }

    fn wait(&mut self) {
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        let deadline = [self.set.deadline(), self.notify.deadline()].into_iter().flatten().min();
        let timeout = deadline.and_then(|at| Timespec::try_from(at.saturating_sub(sys::now())).ok());
        // An interrupted wait is a short one; any other failure would be of our own making and comes back at once.
        let ready = epoll::wait(&self.poll, &mut events[..], timeout.as_ref()).unwrap_or(0);
        for event in &events[..ready] {
            match event.data.u64() {
                SIGNALS => self.read_signals(),
                WAKE => self.read_messages(),
                service => self.read_start(service as usize),
            }
        }
    }

    fn read_signals(&mut self) {
        let mut reap = false;
        while let Some(signal) = self.signals.next() {
            match signal {
                libc::SIGCHLD => reap = true,
                libc::SIGHUP if self.ignore_hup => {}
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP => {
                    let gone = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(self.guard_pid);
                    let from =
                        if gone { "the guard is gone" } else { super::exit::signal_name(signal).unwrap_or("a signal") };
                    self.stop(from, signal);
                }
                _ => {}
            }
        }
        if reap {
            self.reap();
        }
    }

    fn stop(&mut self, from: &str, signal: i32) {
        let again = if self.set.is_stopping() { ", more urgently" } else { "" };
        tracing::info!("stopping everything{again} ({from})");
        self.asked_by.get_or_insert(signal);
        let actions = self.set.stop(sys::now());
        self.act(actions);
    }

    fn read_messages(&mut self) {
        let _ = rustix::io::read(&*self.mailbox.wake, &mut [0u8; 8]);
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Stop => self.stop("asked by a client", libc::SIGTERM),
                Message::Restart(service) => {
                    tracing::info!("restarting {} (asked by a client)", self.services[service].name);
                    self.tell(service, Event::Restart);
                }
                Message::Answer { service, asked, instance, answer } => {
                    if instance == self.set.machine(service).instance() {
                        self.view.answered(service, &answer);
                        if let (Asked::Alive, Err(why)) = (asked, &answer) {
                            tracing::warn!("{}: not alive: {why}", self.services[service].name);
                        }
                    }
                    self.tell(service, Event::Answered { instance, ok: answer.is_ok() });
                }
            }
        }
    }

    /// A started process has reached its program, or failed to; the failure counts when it is reaped.
    fn read_start(&mut self, service: usize) {
        let (reached, pipe) = self.processes.hear(service, &self.services[service]);
        self.unwatch(pipe);
        if reached {
            self.tell(service, Event::Reached);
        }
    }

    /// Takes a pipe off the list before it is closed: a process that is just being started may hold a copy for a moment,
    /// and would keep it there.
    fn unwatch(&self, pipe: Option<OwnedFd>) {
        if let Some(pipe) = pipe {
            let _ = epoll::delete(&self.poll, &pipe);
        }
    }

    /// Reaps everything that has ended, strangers included.
    fn reap(&mut self) {
        // Looked at first and reaped last: until then no other process can have the same id.
        while let Some((pid, exit)) = sys::next_ended() {
            let ended =
                self.processes.place(pid).map(|service| (service, self.processes.exit(service, exit, &self.services)));
            sys::reap(pid);
            if let Some((service, exit)) = ended {
                self.ended(service, exit);
            }
        }
        for service in 0..self.set.len() {
            if self.set.machine(service).is_clearing() && self.processes.of(service).is_empty() {
                self.tell(service, Event::Emptied);
            }
        }
    }

    fn ended(&mut self, service: usize, exit: Exit) {
        // A step that has done its work is no news.
        let step = self.processes.is_step(service);
        let pipe = self.processes.forget(service);
        self.unwatch(pipe);
        let left = !self.processes.of(service).is_empty();
        if !(step && exit == Exit::Code(0)) {
            self.view.ended(service, &exit);
        }
        self.tell(service, Event::Exited { exit, left });
    }

    fn tell(&mut self, service: usize, event: Event) {
        let actions = self.set.tell(service, event, sys::now());
        self.act(actions);
        // At once, so that the log has each step of a service, however short.
        self.publish();
    }

    fn act(&mut self, actions: Vec<(usize, Action)>) {
        for (service, action) in actions {
            match action {
                Action::Spawn(phase) => self.spawn(service, phase),
                Action::Signal(signal) => self.processes.signal(service, signal),
                Action::KillAll => self.processes.kill_all(service),
                Action::Ask { asked, instance, patience } => {
                    let probe = match asked {
                        Asked::Ready => self.services[service].ready.clone(),
                        Asked::Alive => self.services[service].alive.as_ref().map(|alive| alive.probe.clone()),
                    };
                    if let Some(probe) = probe {
                        let mailbox = self.mailbox.clone();
                        let user = self.services[service].command.user.clone();
                        ask(probe, user, patience, move |answer| {
                            mailbox.send(Message::Answer { service, asked, instance, answer });
                        });
                    }
                }
                Action::GiveUp(exit) => self.give_up(service, &exit),
            }
        }
    }

    fn spawn(&mut self, service: usize, phase: Phase) {
        match self.processes.start(service, phase, &self.services[service], &self.log) {
            Ok(process) => {
                let data = epoll::EventData::new_u64(service as u64);
                if let Some(pipe) = self.processes.keep(service, process) {
                    // Were it to fail, the service would never be seen to have started; it does not for a fresh pipe.
                    let _ = epoll::add(&self.poll, pipe, data, epoll::EventFlags::IN);
                }
            }
            Err(error) => {
                let step = "start a process".to_owned();
                let exit = Exit::NotStarted { step, errno: error.raw_os_error().unwrap_or(libc::EAGAIN) };
                self.view.ended(service, &exit);
                self.tell(service, Event::Exited { exit, left: false });
            }
        }
    }

    /// The set ends because of this service: its last words go to the log and to whoever started us.
    fn give_up(&mut self, service: usize, exit: &Exit) {
        let name = &self.services[service].name;
        let tail = self.log.tail(service, Duration::from_secs(1));
        let deaths = self.set.machine(service).deaths();
        let mut message = match exit.is_permanent() || deaths < 2 {
            true => format!("{name} can't be kept up: {exit}"),
            false => format!("{name} can't be kept up: it died {deaths} times (last: {exit})"),
        };
        if !tail.is_empty() {
            message.push_str("; its last lines:");
        }
        for line in tail {
            message.push_str("\n    ");
            message.push_str(&line);
        }
        tracing::error!("{message}");
        self.tell_guard(b'E', message.as_bytes());
    }

    fn tell_guard(&self, kind: u8, text: &[u8]) {
        // A datagram must fit into the socket's buffer.
        let record = [&[kind], &text[..text.len().min(32 << 10)]].concat();
        let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
        let _ = rustix::net::send(&self.guard, &record, flags);
    }

    fn publish(&mut self) {
        let pids = self.processes.pids();
        self.view.publish(&self.set, &pids);
        let now = sys::now();
        let stopping = self.set.stop_deadline().map(|at| at.saturating_sub(now));
        if let Some(message) = self.notify.due(now, self.set.all_ready(), stopping, self.view.summary()) {
            self.tell_guard(b'N', message.as_bytes());
        }
    }

    fn end(&mut self) -> u8 {
        let status = match self.set.gave_up() {
            Some((_, exit)) => exit.status().max(1),
            None if self.asked_by == Some(libc::SIGINT) => 130,
            None => 0,
        };
        self.log.drain(Duration::from_secs(1));
        tracing::info!("everything is down");
        self.log.finish(Duration::from_secs(1));
        status
    }
}

/// Asks on a thread of its own, which reaches no more than the service itself: it looks at the service's files.
fn ask(
    probe: Arc<dyn Probe>,
    user: Option<User>,
    patience: Duration,
    answer: impl FnOnce(Result<(), String>) + Send + Clone + 'static,
) {
    let later = answer.clone();
    let question = move || {
        let user = user.filter(|_| rustix::process::geteuid().is_root());
        let _acting = match user.as_ref().map(sys::Acting::as_user).transpose() {
            Ok(acting) => acting,
            Err(error) => return later(Err(format!("cannot ask as the service's user: {error}"))),
        };
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| probe.check(patience)));
        later(asked.unwrap_or_else(|_| Err("the probe has a bug: it panicked".to_owned())));
    };
    if std::thread::Builder::new().name("probe".into()).spawn(question).is_err() {
        answer(Err("no thread for the probe".to_owned()));
    }
}
