//go:build realstores && linux

package realstores

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/kubernetes"
	"github.com/jetonhq/jeton/store/storetest"
)

var addr string // HOST:PORT of the API server

const admin = "admin-token"

// An apiServer is a real one on etcd.
type apiServer struct {
	args []string
	cmd  *exec.Cmd
	log  bytes.Buffer // read when it ended
}

var api apiServer

// startKubernetes starts an API server with the certificate of etcd, which is
// good for all of 127.0.0.1.
func startKubernetes() error {
	var err error
	if addr, err = storetest.FreeAddr(); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addr)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(etcd.Dir, name) }
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := errors.Join(os.WriteFile(in("accounts.pem"), text, 0o600),
		os.WriteFile(in("tokens.csv"), []byte(admin+`,admin,1,"system:masters"`+"\n"), 0o600)); err != nil {
		return err
	}
	api.args = []string{"--etcd-servers", "http://" + etcd.Addr, "--bind-address", "127.0.0.1", "--secure-port", port,
		"--tls-cert-file", in("cert.pem"), "--tls-private-key-file", in("key.pem"), "--token-auth-file", in("tokens.csv"),
		"--service-account-issuer", "https://kubernetes.test", "--service-account-key-file", in("accounts.pem"),
		"--service-account-signing-key-file", in("accounts.pem"), "--service-cluster-ip-range", "10.0.0.0/24",
		"--authorization-mode", "RBAC", "--endpoint-reconciler-type", "none"}
	return api.start()
}

func (a *apiServer) start() error {
	a.log.Reset()
	a.cmd = command("kube-apiserver", a.args...)
	a.cmd.Stderr = &a.log
	if err := a.cmd.Start(); err != nil {
		return err
	}
	if err := until(func() error {
		status, answer, err := try(http.MethodGet, "/readyz", admin, nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, answer)
		}
		return err
	}); err != nil {
		a.stop()
		return fmt.Errorf("the API server does not become ready: %w\n%s", err, a.log.String())
	}
	return nil
}

func (a *apiServer) stop() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

func try(method, path, token string, body any) (status int, answer []byte, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	ask, err := http.NewRequest(method, "https://"+addr+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	ask.Header.Set("Authorization", "Bearer "+token)
	ask.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: etcd.TLS.Clone(), DisableKeepAlives: true}}
	got, err := client.Do(ask)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = got.Body.Close() }()
	answer, err = io.ReadAll(got.Body)
	return got.StatusCode, answer, err
}

// create makes an object as the administrator.
func create(t *testing.T, path string, body any) []byte {
	t.Helper()
	status, answer, err := try(http.MethodPost, path, admin, body)
	if err != nil || status/100 != 2 {
		t.Fatalf("%s: %d %s %v", path, status, answer, err)
	}
	return answer
}

var spaces atomic.Int64

type object map[string]any

// namespace makes a namespace with the service account jeton, which may do what
// docs/operations.md says, and returns a token of it.
func namespace(t *testing.T) (name, token string) {
	t.Helper()
	name = fmt.Sprint("test-", spaces.Add(1))
	named := func(name string) object { return object{"name": name} }
	create(t, "/api/v1/namespaces", object{"metadata": named(name)})
	create(t, "/api/v1/namespaces/"+name+"/serviceaccounts", object{"metadata": named("jeton")})
	rbac := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + name
	create(t, rbac+"/roles", object{"metadata": named("jeton"), "rules": []object{{"apiGroups": []string{""}, "resources": []string{"secrets"},
		"verbs": []string{"get", "list", "watch", "create", "update", "delete"}}}})
	create(t, rbac+"/rolebindings", object{"metadata": named("jeton"),
		"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "jeton"},
		"subjects": []object{{"kind": "ServiceAccount", "name": "jeton", "namespace": name}}})
	var got struct{ Status struct{ Token string } }
	answer := create(t, "/api/v1/namespaces/"+name+"/serviceaccounts/jeton/token", object{"spec": object{}})
	if err := json.Unmarshal(answer, &got); err != nil || got.Status.Token == "" {
		t.Fatalf("no token: %v", err)
	}
	return name, got.Status.Token
}

func inCluster(t *testing.T, rest, token string) store.Address {
	t.Helper()
	a, err := store.ParseAddress("kubernetes://" + addr + "/" + rest)
	if err != nil {
		t.Fatal(err)
	}
	a.Password, a.TLS = jeton.NewSecret(token), etcd.TLS
	return a
}

// open opens a store as soon as the server knows what the account may do.
func openKubernetes(t *testing.T, a store.Address) *kubernetes.Store {
	t.Helper()
	var s *kubernetes.Store
	if err := until(func() (err error) {
		s, err = kubernetes.Open(t.Context(), a)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// The exam, with an account that may do no more than the documentation says.
func TestKubernetesStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		name, token := namespace(t)
		return openKubernetes(t, inCluster(t, name, token))
	})
}

// What one process writes, another one is told.
func TestKubernetesWatchSeesOthers(t *testing.T) {
	name, token := namespace(t)
	here, there := openKubernetes(t, inCluster(t, name, token)), openKubernetes(t, inCluster(t, name, token))
	changed, err := here.Watch(t.Context(), "a/")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		r, err := there.Put(t.Context(), store.Record{Key: fmt.Sprint("a/", i)})
		if err == nil {
			await(t, changed)
			r, err = there.Put(t.Context(), r)
		}
		if err == nil {
			await(t, changed)
			err = there.Delete(t.Context(), r)
		}
		if err != nil {
			t.Fatal(err)
		}
		await(t, changed)
	}
}

func await(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("no signal")
	}
}

// The largest record fits, and more does not.
func TestKubernetesLargeRecord(t *testing.T) {
	name, token := namespace(t)
	s := openKubernetes(t, inCluster(t, name, token))
	fits := 1<<20 - len("a") - 16
	r, err := s.Put(t.Context(), store.Record{Key: "a", Value: make([]byte, fits)})
	if err != nil {
		t.Fatal(err)
	}
	r.Value = make([]byte, fits+1)
	if _, err := s.Put(t.Context(), r); err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("a large record: %v", err)
	}
}

// What does not change is no write to the server: this is why a record has
// something random in it.
func TestKubernetesServerWritesChangesOnly(t *testing.T) {
	name, _ := namespace(t)
	path := "/api/v1/namespaces/" + name + "/secrets"
	var first, second struct {
		Metadata struct{ ResourceVersion string }
	}
	secret := object{"metadata": object{"name": "a"}, "data": object{"a": "eA=="}}
	if err := json.Unmarshal(create(t, path, secret), &first); err != nil {
		t.Fatal(err)
	}
	_, answer, err := try(http.MethodPut, path+"/a", admin, secret)
	if err == nil {
		err = json.Unmarshal(answer, &second)
	}
	if err != nil || first != second {
		t.Errorf("%v, then %v, %v", first, second, err)
	}
}

// The answers that the store tells apart, as the stand-in in store/kubernetes
// gives them.
func TestKubernetesAnswers(t *testing.T) {
	name, token := namespace(t)
	openKubernetes(t, inCluster(t, name, token)) // waits until the role is known
	path := "/api/v1/namespaces/" + name + "/secrets"
	type metadata struct{ UID, ResourceVersion string }
	var made struct{ Metadata metadata }
	if err := json.Unmarshal(create(t, path, object{"metadata": object{"name": "a"}}), &made); err != nil {
		t.Fatal(err)
	}
	const stranger = "00000000-0000-4000-8000-000000000000"
	meta := func(name, uid, revision string) object {
		return object{"metadata": object{"name": name, "uid": uid, "resourceVersion": revision}}
	}
	at := func(uid, revision string) object {
		return object{"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": object{"uid": uid, "resourceVersion": revision}}
	}
	uid, revision := made.Metadata.UID, made.Metadata.ResourceVersion
	large := object{"metadata": object{"name": "b"}, "data": object{"a": make([]byte, 1<<20+1)}}
	for _, c := range []struct {
		method, path, token string
		body                object
		status              int
		reason              string
	}{
		{"GET", path + "/b", token, nil, 404, "NotFound"},
		{"POST", path, token, object{"metadata": object{"name": "a"}}, 409, "AlreadyExists"},
		{"POST", path, token, large, 422, "Invalid"},
		{"POST", "/api/v1/namespaces/nowhere/secrets", admin, object{"metadata": object{"name": "a"}}, 404, "NotFound"},
		{"GET", "/api/v1/namespaces/nowhere/secrets/a", admin, nil, 404, "NotFound"},
		{"PUT", path + "/a", token, meta("a", uid, "1"), 409, "Conflict"},
		{"PUT", path + "/a", token, meta("a", stranger, revision), 409, "Conflict"},
		{"PUT", path + "/b", token, meta("b", uid, revision), 404, "NotFound"},
		{"DELETE", path + "/a", token, at(uid, "1"), 409, "Conflict"},
		{"DELETE", path + "/a", token, at(stranger, revision), 409, "Conflict"},
		{"DELETE", path + "/b", token, at(uid, revision), 404, "NotFound"},
		{"GET", path, "wrong", nil, 401, "Unauthorized"},
		{"GET", "/api/v1/namespaces/default/secrets", token, nil, 403, "Forbidden"},
		{"GET", path + "?limit=1&continue=nonsense", token, nil, 400, "BadRequest"},
		{"DELETE", path + "/a", token, at(uid, revision), 200, ""},
		{"DELETE", path + "/a", token, at(uid, revision), 404, "NotFound"},
	} {
		var said struct{ Reason string }
		status, answer, err := try(c.method, c.path, c.token, c.body)
		if err == nil {
			err = json.Unmarshal(answer, &said)
		}
		if err != nil || status != c.status || said.Reason != c.reason {
			t.Errorf("%s %s: %d %q, %v; want %d %q", c.method, c.path, status, said.Reason, err, c.status, c.reason)
		}
	}
}

// Open says what is wrong, without the token.
func TestKubernetesOpenRefuses(t *testing.T) {
	name, token := namespace(t)
	for _, c := range []struct{ rest, token, want string }{
		{name, "wrong", "the token or certificate is not accepted (401 Unauthorized)"},
		{name, "", "(40"}, // forbidden to nobody, or not accepted
		{"default", token, "forbidden: the account needs"},
		{"nowhere", admin, "there is no such namespace (404 NotFound)"},
	} {
		s, err := kubernetes.Open(t.Context(), inCluster(t, c.rest, c.token))
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: opened, want %q", c.rest, c.want)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v; want %q", c.rest, err, c.want)
		}
	}
	a := inCluster(t, name, token)
	a.TLS = nil
	if _, err := kubernetes.Open(t.Context(), a); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of a stranger: %v", err)
	}
}

// The API server goes away and comes back, knowing nothing of what came before:
// it says 410 to who asks for that, and a watch goes on all the same.
func TestKubernetesRestart(t *testing.T) {
	name, token := namespace(t)
	here, there := openKubernetes(t, inCluster(t, name, token)), openKubernetes(t, inCluster(t, name, token))
	changed, err := here.Watch(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	r, err := there.Put(t.Context(), store.Record{Key: "a"})
	if err != nil {
		t.Fatal(err)
	}
	_, old, _ := strings.Cut(r.Version, ".")
	if r, err = there.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	api.stop()
	if _, err := here.Get(t.Context(), "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get from a server that is down: %v", err)
	}
	if err := api.start(); err != nil {
		t.Fatal(err)
	}
	if got, err := here.Get(t.Context(), "a"); err != nil || got.Version != r.Version {
		t.Errorf("Get after the restart: %q, %v; want %q", got.Version, err, r.Version)
	}
	status, answer, err := try(http.MethodGet, "/api/v1/namespaces/"+name+"/secrets?watch=1&timeoutSeconds=10&resourceVersion="+old, admin, nil)
	if err != nil || !strings.Contains(string(answer), `"code":410`) || !strings.Contains(string(answer), `"reason":"Expired"`) {
		t.Errorf("a watch from before: %d %s, %v", status, answer, err)
	}
	for i := 0; ; i++ { // signals from before the restart may be pending
		if r, err = there.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		await(t, changed)
		if i == 10 {
			return
		}
	}
}
