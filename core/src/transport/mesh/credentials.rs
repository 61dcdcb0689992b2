use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;

use crate::transport::identity::{IdentityError, PeerIdentity, SCHEME};

/// A peer's certificate and key, and the authorities it believes.
#[derive(Clone)]
pub struct Credentials {
    identity: PeerIdentity,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<PrivateKeyDer<'static>>,
    pub(super) roots: Arc<RootCertStore>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads a certificate (its issuers may follow it), its private key, and the certificates of one or more
    /// authorities. Several authorities let a cluster move from one to the next.
    ///
    /// # Errors
    ///
    /// See [`CredentialsError`].
    pub fn from_pem(
        certificate_pem: &str,
        key_pem: &str,
        authority_pem: &str,
    ) -> Result<Self, CredentialsError> {
        let chain = certificates(certificate_pem, "certificate")?;
        let leaf = chain.first().ok_or(CredentialsError::Missing {
            what: "certificate",
        })?;
        let identity = identity_of(leaf)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| {
            CredentialsError::Pem {
                what: "private key",
                error: error.into(),
            }
        })?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(authority_pem, "authority")? {
            roots
                .add(authority)
                .map_err(|error| CredentialsError::Authority(error.into()))?;
        }
        if roots.is_empty() {
            return Err(CredentialsError::Missing { what: "authority" });
        }
        Ok(Self {
            identity,
            chain,
            key: Arc::new(key),
            roots: Arc::new(roots),
        })
    }

    /// Whom the certificate names.
    #[must_use]
    pub const fn identity(&self) -> PeerIdentity {
        self.identity
    }
}

fn certificates(
    pem: &str,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| CredentialsError::Pem {
            what,
            error: error.into(),
        })
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why texts are no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A text is not PEM.
    #[error("could not read the {what}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        error: BoxError,
    },
    /// A text has no such section.
    #[error("there is no {what} in its text")]
    Missing {
        /// Which text.
        what: &'static str,
    },
    /// An authority's certificate cannot vouch for anybody.
    #[error("could not use the authority's certificate")]
    Authority(#[source] BoxError),
    /// The certificate names no peer.
    #[error("the certificate cannot be a peer's")]
    Certificate(#[from] CertificateError),
    /// The key is not the certificate's, or of a kind that TLS 1.3 has no use for.
    #[error("could not use the certificate and the key")]
    Key(#[source] BoxError),
    /// Names another peer, or another cluster, than the mesh was started with.
    #[error("the certificate is of {seen}, the mesh is {expected}")]
    Identity {
        /// Whom the certificate names.
        seen: PeerIdentity,
        /// Who the mesh is.
        expected: PeerIdentity,
    },
}

/// Why a certificate, valid or not, names no peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is none.
    #[error("no certificate was shown")]
    Absent,
    /// It is not X.509, or its subject alternative names are not.
    #[error("the certificate is malformed")]
    Malformed,
    /// No subject alternative name is a peer's URI.
    #[error("no subject alternative name of the certificate begins with {SCHEME}")]
    NoIdentity,
    /// More than one is.
    #[error("the certificate names more than one peer")]
    SeveralIdentities,
    /// One begins as a peer's URI does and goes on otherwise.
    #[error("the certificate's name is no peer's")]
    Identity(#[from] IdentityError),
}

/// Whom a certificate names. Whether to believe it is for TLS to say.
pub(super) fn identity_of(
    certificate: &CertificateDer<'_>,
) -> Result<PeerIdentity, CertificateError> {
    // The parser's errors borrow from a stranger's bytes and say nothing an operator can use.
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Err(CertificateError::Malformed);
    };
    let Ok(names) = parsed.subject_alternative_name() else {
        return Err(CertificateError::Malformed);
    };
    let mut peers = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
            _ => None,
        });
    let uri = peers.next().ok_or(CertificateError::NoIdentity)?;
    if peers.next().is_some() {
        return Err(CertificateError::SeveralIdentities);
    }
    Ok(uri.parse()?)
}

/// Any bytes as a certificate that a stranger shows: for fuzzing.
#[doc(hidden)]
pub fn decode_any_certificate(bytes: &[u8]) {
    let _ = identity_of(&CertificateDer::from(bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
        for &uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI(uri.try_into().unwrap()));
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        certificate.der().clone()
    }

    const SEVEN: &str = "peaberry://00000000000000000000000000c0ffee/peer/7";

    #[test]
    fn the_one_peer_is_found_among_other_names() {
        let found = identity_of(&certificate(&["https://example.com", SEVEN]));
        assert_eq!(found.unwrap().to_string(), SEVEN);
        assert_eq!(
            identity_of(&certificate(&["https://example.com"])),
            Err(CertificateError::NoIdentity)
        );
        let eight = SEVEN.replace('7', "8");
        assert_eq!(
            identity_of(&certificate(&[SEVEN, &eight])),
            Err(CertificateError::SeveralIdentities)
        );
        assert!(matches!(
            identity_of(&certificate(&["peaberry://elsewhere"])),
            Err(CertificateError::Identity(_))
        ));
    }

    proptest! {
        #[test]
        fn broken_certificates_are_survived(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
            let mut der = certificate(&[SEVEN]).to_vec();
            let (at, cut) = (at.index(der.len()), cut.index(der.len()));
            let _ = identity_of(&CertificateDer::from(&der[..cut]));
            der[at] = byte;
            let _ = identity_of(&CertificateDer::from(der));
        }
    }
}
