use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::EdgeError;

const WHAT: &str = "TLS setting";

/// How a connection is encrypted and whom it trusts: TLS 1.2 and 1.3 by rustls with ring. Cheap to clone: devices of one site
/// share theirs.
///
/// The system's authorities are not trusted: a broker of one's own has an authority of one's own.
#[derive(Clone)]
pub struct MqttTls(Arc<ClientConfig>);

impl MqttTls {
    /// Trusts brokers whose certificate names the [host](super::MqttSettings::host) and was issued by one of these
    /// authorities: certificates in PEM, one after the other.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Malformed`] if there is no authority among them, or one is none.
    pub fn trusting(authorities_pem: &[u8]) -> Result<Self, EdgeError> {
        let config = builder()?.with_root_certificates(authorities(authorities_pem)?);
        Ok(Self(Arc::new(config.with_no_client_auth())))
    }

    /// As [`trusting`](Self::trusting), and shows the broker this certificate, with the rest of its chain, if it asks who is
    /// there: PEM, as is its private key.
    ///
    /// # Errors
    ///
    /// [`EdgeError::Malformed`] if any of them is not what it should be, or the key does not belong to the certificate.
    pub fn with_identity(
        authorities_pem: &[u8],
        chain_pem: &[u8],
        key_pem: &[u8],
    ) -> Result<Self, EdgeError> {
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| malformed("private key", &error))?;
        let chain = certificates(chain_pem, "certificate of the device")?;
        let config = builder()?
            .with_root_certificates(authorities(authorities_pem)?)
            .with_client_auth_cert(chain, key)
            .map_err(|error| malformed("certificate of the device", &error))?;
        Ok(Self(Arc::new(config)))
    }

    /// Encrypts a connection to `host`, once it has shown that it is.
    pub(super) async fn begin(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.0.clone())
            .connect(name, stream)
            .await
    }
}

/// The same only if they are clones.
impl PartialEq for MqttTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MqttTls {}

impl fmt::Debug for MqttTls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttTls").finish_non_exhaustive()
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, EdgeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| malformed("versions", &error))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, EdgeError> {
    const PART: &str = "trusted authorities";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, PART)? {
        roots
            .add(certificate)
            .map_err(|error| malformed(PART, &error))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8], part: &str) -> Result<Vec<CertificateDer<'static>>, EdgeError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(part, &error))?;
    if found.is_empty() {
        let reason = format!("{part}: there is no certificate in PEM");
        return Err(EdgeError::malformed(WHAT, reason));
    }
    Ok(found)
}

fn malformed(part: &str, error: &dyn fmt::Display) -> EdgeError {
    EdgeError::malformed(WHAT, format!("{part}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_by_name() {
        for pem in [
            &b""[..],
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let refused = MqttTls::trusting(pem).unwrap_err().to_string();
            assert!(refused.contains("trusted authorities"), "{refused}");
        }
        let refused = MqttTls::with_identity(b"", b"", b"no key").unwrap_err();
        assert!(refused.to_string().contains("private key"), "{refused}");
    }
}
