//! What a client is made to do: drawn once, then followed.

use super::request::Kind;
use pgconvoy_core::auth::Secret;
use pgconvoy_core::rng::Rng;
use pgconvoy_core::time::Duration;

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By Terminate, when everything is answered.
    Terminate,
    /// By closing the connection after some byte of the last request, without waiting for any answer.
    Vanish,
    /// By closing the connection after some byte of its first packet.
    GiveUp,
    /// By saying no more after some byte of its proof of the password: pgconvoy has to end it.
    Stop,
}

/// What one session of a client does.
#[derive(Clone)]
pub struct Workload {
    /// The user, and the database of the same name.
    pub user: &'static str,
    /// The password it knows.
    pub password: Secret,
    /// Whether it does not know it, though it will be asked.
    pub wrong_password: bool,
    /// Whether it asks for encryption first.
    pub encryption: bool,
    /// Requests until it leaves.
    pub requests: u32,
    /// Requests under way at a time.
    pub depth: u32,
    /// Longest pause between two requests, in microseconds.
    pub think_us: u64,
    /// How often each kind of request is drawn.
    pub weights: [u8; Kind::COUNT],
    /// Rows of a large result.
    pub large_rows: u32,
    /// How many requests in a hundred are followed by a cancel request.
    pub cancels: u64,
    /// The pause after each read of a slow reader.
    pub read_pause: Option<Duration>,
    /// How the session ends.
    pub ending: Ending,
}

impl std::fmt::Debug for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = Kind::ALL.iter().zip(self.weights).filter(|(_, weight)| *weight > 0);
        write!(
            f,
            "{} x{} depth {} think {} us, cancels {} %, pause {:?}, {:?}, large {},",
            self.user,
            self.requests,
            self.depth,
            self.think_us,
            self.cancels,
            self.read_pause,
            self.ending,
            self.large_rows
        )?;
        kinds.into_iter().try_for_each(|(kind, weight)| write!(f, " {kind:?}:{weight}"))
    }
}

impl Workload {
    /// Makes it a session that mostly asks where a statement would go, and then sends it.
    pub fn ask_for_routes(&mut self) {
        if !self.requests.is_multiple_of(4) {
            // A text of several statements with a BEGIN in it ends a session's balancing, and so does a refused read.
            self.weights[Kind::Multi as usize] = 0;
            self.weights[Kind::Refused as usize] = 0;
        }
        let others: u32 = self.weights.iter().map(|weight| u32::from(*weight)).sum();
        self.weights[Kind::Explain as usize] = u8::try_from(others).unwrap_or(u8::MAX);
        self.requests += 40;
        self.cancels = 0;
        self.read_pause = None;
    }

    /// There is no pgconvoy to ask.
    pub fn ask_for_no_routes(&mut self) {
        self.weights[Kind::Explain as usize] = 0;
        if self.weights.iter().all(|weight| *weight == 0) {
            self.weights[0] = 1;
        }
    }

    /// Draws a workload: some kinds of requests are left out altogether, so that others come together more often.
    pub fn draw(rng: &mut Rng, user: &'static str, password: &Secret, asked: bool) -> Self {
        let mut weights = [0u8; Kind::COUNT];
        let weight = |rng: &mut Rng| if rng.chance(2, 3) { 1 + rng.below(8) as u8 } else { 0 };
        let (last, others) = weights.split_last_mut().expect("there are kinds");
        others.iter_mut().for_each(|drawn| *drawn = weight(rng));
        *last = weight(&mut rng.fork(Kind::Explain as u64));
        if weights.iter().all(|weight| *weight == 0) {
            weights[0] = 1;
        }
        Self {
            user,
            password: password.clone(),
            wrong_password: asked && rng.chance(1, 24),
            encryption: rng.chance(1, 4),
            requests: 1 + rng.below(25) as u32,
            depth: if rng.chance(1, 2) { 1 } else { 1 + rng.below(8) as u32 },
            think_us: [0, 500, 5_000, 50_000][rng.below(4) as usize],
            weights,
            large_rows: [50, 500, 3_000, 20_000][rng.below(4) as usize],
            cancels: if rng.chance(1, 3) { 5 + rng.below(40) } else { 0 },
            read_pause: rng.chance(1, 8).then(|| Duration::from_micros(500 + rng.below(20_000))),
            ending: match rng.below(24) {
                0 => Ending::GiveUp,
                1..=8 => Ending::Vanish,
                9..=11 if asked => Ending::Stop,
                _ => Ending::Terminate,
            },
        }
    }
}
