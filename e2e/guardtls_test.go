package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The guard speaks TLS, and HTTP/2 over it, and shows a certificate that was
// renewed without a restart. One that is broken leaves the old one in place.
func TestGuardTLS(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer api.Close()
	dir, listen := t.TempDir(), freeAddress(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	certificate(t, file("guard.pem"), file("guard.key"))
	if err := os.WriteFile(file("jeton.yaml"), []byte(`issuer: {listen: "`+freeAddress(t)+`", realms: {std: {dialect: oauth2}}}
guard:
  listen: `+listen+`
  tls: {cert: guard.pem, key: file:guard.key}
  upstreams: {api: {realm: std, to: "`+api.URL+`"}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "serve", "-c", file("jeton.yaml"))
	p.await(t, p.stderr, `(?s)listening.*listening`)

	// shown calls the guard over a new connection, whose certificate is not yet
	// known to be good, and returns it.
	shown := func(t *testing.T) (string, *x509.Certificate) {
		t.Helper()
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		defer transport.CloseIdleConnections()
		answer, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + listen + "/x")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %d without a token", answer.StatusCode)
		}
		return answer.Proto, answer.TLS.PeerCertificates[0]
	}
	proto, first := shown(t)
	if proto != "HTTP/2.0" {
		t.Error(proto)
	}
	if err := os.WriteFile(file("guard.pem"), []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (string, bool) {
		shown(t)
		return p.stderr.String(), strings.Contains(p.stderr.String(), "the old certificate is shown")
	})
	if _, old := shown(t); !old.Equal(first) {
		t.Error("another certificate is shown")
	}
	certificate(t, file("guard.pem"), file("guard.key"))
	eventually(t, func() (string, bool) {
		_, now := shown(t)
		return now.SerialNumber.String(), !now.Equal(first)
	})
	// Who speaks no TLS is told so, and gets nothing.
	if a, err := send("GET", "http://"+listen+"/x", ""); err == nil && a.status != 400 {
		t.Errorf("status %d without TLS", a.status)
	}
}
