//! Why a call failed, named by what the caller should do.
//!
//! Deliberately not here: errors that only producers, consumers or commits have; those stand beside them.

use pagemark_wire::api::Api;
use pagemark_wire::messages::StrBytes;

use crate::code::Code;

/// Why a call to a broker failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Try again later: no broker answered in time. What was asked for may have been done all the same.
    #[error("no answer in time: {0}")]
    Unavailable(String),
    /// Ask for something else: the broker refused.
    #[error("refused with {code}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Refused {
        /// The broker's error code.
        code: Code,
        /// The broker's own words, if it had any.
        message: String,
    },
    /// Use a newer broker, or do without: this one does not serve what the call needs.
    #[error("the broker does not serve {api:?} in a version that this client speaks")]
    Unsupported {
        /// The API that is missing.
        api: Api,
    },
    /// Give up on this broker: it does not keep to the protocol.
    #[error("the broker does not keep to the protocol: {0}")]
    Protocol(String),
    /// Correct the arguments or the settings: nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// A refusal without words.
    pub(crate) fn refused(code: Code) -> Error {
        Error::Refused { code, message: String::new() }
    }

    /// The broker's error code, if it was the broker that refused.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether it may be due to an old idea of who leads.
    pub(crate) fn is_stale_metadata(&self) -> bool {
        matches!(self, Error::Unavailable(_)) || self.code().is_some_and(Code::is_stale_metadata)
    }

    /// Whether the same call may succeed in a while.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Unavailable(_) => true,
            Error::Refused { code, .. } => code.is_retriable(),
            Error::Unsupported { .. } | Error::Protocol(_) | Error::Invalid(_) | Error::Closed => false,
        }
    }
}

/// `Err` with the broker's words, unless the code says that all is well.
pub(crate) fn refuse(code: i16, message: Option<&StrBytes>) -> Result<(), Error> {
    match Code(code) {
        Code::NONE => Ok(()),
        code => Err(Error::Refused { code, message: message.map(ToString::to_string).unwrap_or_default() }),
    }
}
