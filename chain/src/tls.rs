//! Whose certificates are believed.

use std::fmt;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::ChainError;

/// The authorities one of which must have signed a server's certificate. Cheap to clone.
///
/// Without a word it is Mozilla's list. A node of your own behind your own authority is reached by
/// [`from_pem`](Self::from_pem), with [`HttpEndpoint::with_roots`](crate::HttpEndpoint::with_roots) or, feature `ws`,
/// `NewHeads::with_roots`.
#[derive(Clone)]
pub struct TlsRoots {
    config: ClientConfig,
}

impl TlsRoots {
    /// Mozilla's list, as of this build.
    #[must_use]
    pub fn mozilla() -> Self {
        Self {
            config: builder().with_webpki_roots().with_no_client_auth(),
        }
    }

    /// The certificates in `pem`, and nobody else.
    ///
    /// # Errors
    ///
    /// [`ChainError::InvalidRoots`]: there is none in it, or one that cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ChainError> {
        let invalid = |reason: String| ChainError::InvalidRoots { reason };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            let added = roots.add(certificate);
            added.map_err(|error| invalid(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(invalid("it holds no certificate in PEM".into()));
        }
        Ok(Self {
            config: builder()
                .with_root_certificates(roots)
                .with_no_client_auth(),
        })
    }

    pub(crate) fn config(&self) -> ClientConfig {
        self.config.clone()
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions of TLS")
}

impl fmt::Debug for TlsRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsRoots")
    }
}
