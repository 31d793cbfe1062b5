//! OpenAI's own address, played on this machine: some fields, and its Responses, are for that address only. The daemon
//! reaches it as it would from behind a company's proxy: through a tunnel, to a server whose certificate it is told to trust.

use rustls::pki_types::PrivateKeyDer;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const HOST: &str = "api.openai.com";

pub(crate) struct Official {
    /// For `HTTPS_PROXY`.
    pub(crate) proxy: String,
    /// For `SSL_CERT_FILE`.
    pub(crate) certificate: PathBuf,
    _folder: TempDir,
}

impl Official {
    /// What is asked of OpenAI is answered at `address`.
    pub(crate) async fn open(address: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("openai.pem");
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let address = address.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, address) = (acceptor.clone(), address.clone());
                tokio::spawn(async move { drop(tunnel(client, acceptor, &address).await) });
            }
        });
        Self {
            proxy,
            certificate,
            _folder: folder,
        }
    }
}

async fn tunnel(client: TcpStream, acceptor: TlsAcceptor, address: &str) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let (mut head, mut line) = (String::new(), String::new());
    while client.read_line(&mut line).await? > 2 {
        head.push_str(&line);
        line.clear();
    }
    assert!(head.starts_with(&format!("CONNECT {HOST}:443 ")), "{head}");
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(address).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
