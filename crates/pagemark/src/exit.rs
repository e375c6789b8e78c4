//! How a command ends: the documented exit codes, and failures that say what to do.
//!
//! Deliberately not here: the exit codes of `serve`, which supervisors read (`commands/serve.rs`).

use std::fmt;

use pagemark_client::{Code, Error};

/// The exit codes, as every `--help` documents them.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  it could not be done
  2  wrong arguments
  3  the broker lacks what it needs
  4  a check failed, such as --fail-over
  5  refused: the group is active, or the thing exists already";

/// An exit code other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 1: it could not be done.
    Failed = 1,
    /// 2: wrong arguments.
    Usage = 2,
    /// 3: the broker lacks what it needs.
    Unsupported = 3,
    /// 4: a check failed.
    CheckFailed = 4,
    /// 5: refused, since the group is active or the thing exists already.
    Refused = 5,
}

/// Why a command did not do what it was asked, with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its exit code.
    pub exit: Exit,
    /// For a person, on standard error.
    pub message: String,
}

impl Failure {
    /// It could not be done.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failed, message: message.into() }
    }

    /// The arguments are wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: message.into() }
    }

    /// A check failed.
    pub fn check(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::CheckFailed, message: message.into() }
    }

    /// Refused.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Refused, message: message.into() }
    }

    /// The same with a hint such as `; is orders meant?` behind it.
    pub fn hinting(self, hint: &str) -> Failure {
        Failure { message: self.message + hint, ..self }
    }

    /// The same with what it is about in front.
    pub fn about(self, what: impl fmt::Display) -> Failure {
        Failure { message: format!("{what}: {}", self.message), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match &error {
            Error::Unsupported { .. } => Exit::Unsupported,
            Error::Invalid(_) => Exit::Usage,
            Error::Refused { code, .. } => match *code {
                Code::TOPIC_ALREADY_EXISTS | Code::NON_EMPTY_GROUP | Code::GROUP_SUBSCRIBED_TO_TOPIC => Exit::Refused,
                Code::UNSUPPORTED_VERSION => Exit::Unsupported,
                _ => Exit::Failed,
            },
            _ => Exit::Failed,
        };
        let advice = match error.code() {
            Some(Code::UNKNOWN_TOPIC_OR_PARTITION) => ". `pagemark topic list` shows which there are",
            Some(Code::GROUP_ID_NOT_FOUND) => ". `pagemark group list` shows which there are",
            Some(Code::NON_EMPTY_GROUP) => ". Stop its members first; `pagemark group describe --members` names them",
            Some(Code::GROUP_SUBSCRIBED_TO_TOPIC) => ". A member of the group reads this topic; stop it first",
            Some(Code::TOPIC_ALREADY_EXISTS) => ". With --if-not-exists that is no failure",
            _ => "",
        };
        Failure { exit, message: format!("{error}{advice}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_refusal_has_the_documented_code_and_says_what_to_do() {
        let failure = |code| Failure::from(Error::Refused { code, message: String::new() });
        assert_eq!(failure(Code::NON_EMPTY_GROUP).exit, Exit::Refused);
        assert_eq!(failure(Code::GROUP_ID_NOT_FOUND).exit, Exit::Failed);
        let message = failure(Code::GROUP_ID_NOT_FOUND).message;
        assert_eq!(message, "refused with GROUP_ID_NOT_FOUND (69). `pagemark group list` shows which there are");
        assert_eq!(Failure::from(Error::Invalid("x".to_owned())).exit, Exit::Usage);
    }
}
