package topic

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"eureka/internal/source/sourcetest"
)

const (
	events  = "arn:aws:sns:eu-west-1:123456789012:events"
	snsHost = "sns.eu-west-1.amazonaws.com"
)

// authority is a certificate authority of the tests' own.
type authority struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

var keys struct {
	once                      sync.Once
	authority, signer, forger *rsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	keys.once.Do(func() {
		for _, key := range []**rsa.PrivateKey{&keys.authority, &keys.signer, &keys.forger} {
			var err error
			if *key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
				t.Fatal(err)
			}
		}
	})
	a := &authority{key: keys.authority}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes a certificate for a host.
func (a *authority) issue(t *testing.T, host string, key crypto.Signer, until time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func encoded(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

// aws is a fake of SNS's host: it serves certificates and confirms subscriptions, over TLS with a certificate for its name. Only the tests' transport finds
// it under that name.
type aws struct {
	t         *testing.T
	authority *authority
	server    *httptest.Server
	transport http.RoundTripper

	mu    sync.Mutex
	asked []string
	files map[string]http.HandlerFunc
}

// newAWS is the host, whose TLS certificate is for a name.
func newAWS(t *testing.T, name string) *aws {
	t.Helper()
	a := &aws{t: t, authority: newAuthority(t), files: map[string]http.HandlerFunc{}}
	a.server = httptest.NewUnstartedServer(a)
	a.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{
		Certificate: [][]byte{a.authority.issue(t, name, keys.signer, time.Now().Add(time.Hour))}, PrivateKey: keys.signer,
	}}}
	a.server.Config.ErrorLog = nil
	a.server.StartTLS()
	t.Cleanup(a.server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(a.authority.cert)
	a.transport = &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, a.server.Listener.Addr().String())
		},
	}
	a.serve("/cert.pem", encoded(a.authority.issue(t, "sns.amazonaws.com", keys.signer, time.Now().Add(24*time.Hour))))
	return a
}

func (a *aws) serve(path string, text []byte) {
	a.handle(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
}

func (a *aws) handle(path string, handler http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[path] = handler
}

// ServeHTTP is the host.
func (a *aws) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r.Host+r.URL.Path+" "+r.URL.Query().Get("Action"))
	handler := a.files[r.URL.Path]
	a.mu.Unlock()
	if handler == nil && r.URL.Query().Get("Action") == "ConfirmSubscription" {
		handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<ConfirmSubscriptionResponse/>")) }
	}
	if handler == nil {
		http.NotFound(w, r)
		return
	}
	handler(w, r)
}

func (a *aws) times(text string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, asked := range a.asked {
		if strings.Contains(asked, text) {
			n++
		}
	}
	return n
}

// fields are a message's, which a test changes before or after it is signed.
type fields map[string]string

func notification(id, text string) fields {
	return fields{
		"Type": "Notification", "MessageId": id, "TopicArn": events, "Subject": "about it", "Message": text,
		"Timestamp": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "SignatureVersion": "2", "SigningCertURL": "https://" + snsHost + "/cert.pem",
		"UnsubscribeURL": "https://" + snsHost + "/?Action=Unsubscribe",
	}
}

func confirmation(id string) fields {
	f := notification(id, "You have chosen to subscribe to the topic.")
	delete(f, "Subject")
	f["Type"], f["Token"] = "SubscriptionConfirmation", "token-"+id
	f["SubscribeURL"] = "https://" + snsHost + "/?Action=ConfirmSubscription&TopicArn=" + url.QueryEscape(events) + "&Token=token-" + id
	return f
}

// sign signs as SNS documents it, in words of the test's own.
func (f fields) sign(t *testing.T, key *rsa.PrivateKey) fields {
	t.Helper()
	names := []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	if f["Type"] == "Notification" {
		names = []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	}
	text := ""
	for _, name := range names {
		if value, ok := f[name]; ok {
			text += name + "\n" + value + "\n"
		}
	}
	hash, sum := crypto.SHA256, sha256.Sum256([]byte(text))
	digest := sum[:]
	if f["SignatureVersion"] == "1" {
		old := sha1.Sum([]byte(text))
		hash, digest = crypto.SHA1, old[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, hash, digest)
	if err != nil {
		t.Fatal(err)
	}
	f["Signature"] = base64.StdEncoding.EncodeToString(signature)
	return f
}

func (f fields) with(name, value string) fields {
	f[name] = value
	return f
}

// world is the endpoint beside the real core and engine.
type world struct {
	*sourcetest.World

	aws     *aws
	handler *Handler
}

func newWorld(t *testing.T, name string) *world {
	t.Helper()
	w := &world{World: sourcetest.New(t), aws: newAWS(t, name)}
	var err error
	w.handler, err = New(Options{Topics: []string{"arn:aws:sns:eu-west-1:123456789012:eve*"}, Transport: w.aws.transport, Intake: w.Intake, Log: w.Log})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// post posts a message as SNS does, and returns the status and the answer.
func (w *world) post(f fields, header ...string) (int, string) {
	w.T.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		w.T.Fatal(err)
	}
	return w.postText(text, header...)
}

func (w *world) postText(text []byte, header ...string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, "/events/sns", strings.NewReader(string(text)))
	r.Header.Set("Content-Type", "text/plain; charset=UTF-8")
	for _, name := range header {
		r.Header.Set(name, "true")
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	return recorder.Code, strings.TrimSpace(recorder.Body.String())
}
