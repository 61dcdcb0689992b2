//! What TLS checks for us: that a certificate comes from one of the cluster's authorities and its key is there. Which
//! peer it names is checked behind the handshake.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use super::credentials::{Credentials, CredentialsError};

/// Offered by every peer and asked of it, so that a TLS port of something else is told apart at once.
const ALPN: &[u8] = b"peaberry";

/// What a handshake needs, for either end.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Tls {
    pub(super) fn new(credentials: &Credentials) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        Ok(Self {
            client: Arc::new(client(credentials, &provider)?),
            server: Arc::new(server(credentials, &provider)?),
            provider,
        })
    }
}

fn unusable(error: Error) -> CredentialsError {
    CredentialsError::Key(error.into())
}

fn client(
    credentials: &Credentials,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, CredentialsError> {
    let verifier = AnyNameVerifier {
        roots: credentials.roots.clone(),
        provider: provider.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    // Every connection shows its certificate anew: a resumed one would outlive a rotation.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server(
    credentials: &Credentials,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, CredentialsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(credentials.roots.clone(), provider.clone())
            .build()
            .expect("there is an authority, and no revocation list to be malformed");
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Believes every name that an authority vouches for: a peer's name is no host's, and it is checked later.
#[derive(Debug)]
struct AnyNameVerifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyNameVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
