package aws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
)

const (
	secretKey = "key-canary-8f3a"
	canary    = "token-canary-8f3a"
)

func token(generation uint64, text string) *jeton.Token {
	return &jeton.Token{AccessToken: jeton.NewSecret(text), Generation: generation, Expiry: time.Now().Add(time.Hour)}
}

// static is an environment with an access key.
func static(key string) func(string) string {
	return func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": key}[name]
	}
}

func (f *fake) sink(t *testing.T, getenv func(string) string) *Sink {
	at, err := url.Parse(f.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	by := f.Client().Transport
	return &Sink{Region: f.region, Secret: "prod/support", Endpoint: at, HTTP: by,
		Credentials: Environment{Getenv: getenv, ReadFile: os.ReadFile, Region: f.region, HTTP: by}.Credentials()}
}

// TestPut: a token becomes the current version of a secret that is there, by a
// request whose signature is right.
func TestPut(t *testing.T) {
	f := newFake(t)
	f.secrets["prod/support"] = &secret{versions: map[string]string{}}
	s := f.sink(t, static(secretKey))
	for n, text := range []string{"one", "two"} {
		if err := s.Put(t.Context(), token(uint64(n+1), text)); err != nil {
			t.Fatalf("%v %v", err, f.refused)
		}
	}
	there := f.secrets["prod/support"]
	if len(there.order) != 2 || there.versions[there.current] != "two" || there.versions[there.previous] != "one" {
		t.Errorf("%+v", there)
	}
	s.Format = sink.JSON
	if err := s.Put(t.Context(), token(3, "three")); err != nil || !strings.HasPrefix(there.versions[there.current], `{"access_token":"three",`) {
		t.Errorf("%v %+v", err, there)
	}
}

// TestWrongKey: the fake tells a wrong signature, and no error shows a key.
func TestWrongKey(t *testing.T) {
	f := newFake(t)
	f.secrets["prod/support"] = &secret{versions: map[string]string{}}
	err := f.sink(t, static("another-8f3a")).Put(t.Context(), token(1, canary))
	if e, ok := errors.AsType[*sink.StatusError](err); !ok || e.Code != "InvalidSignatureException" || strings.Contains(err.Error(), "8f3a") {
		t.Errorf("%v", err)
	}
	if !slices.Equal(f.refused, []string{"the signature is another"}) {
		t.Error(f.refused)
	}
}

// TestSkew: a machine whose clock is off is refused once.
func TestSkew(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour} {
		f := newFake(t)
		f.secrets["prod/support"] = &secret{versions: map[string]string{}}
		f.ahead = ahead
		s := f.sink(t, static(secretKey))
		if err := s.Put(t.Context(), token(1, canary)); err == nil {
			t.Error("the fake takes any date")
		}
		if err := s.Put(t.Context(), token(1, canary)); err != nil {
			t.Errorf("%v %v", err, f.refused)
		}
		f.ahead = 0 // the clock was set
		if err := s.Put(t.Context(), token(2, canary)); err == nil {
			t.Error("the fake takes any date")
		}
		if err := s.Put(t.Context(), token(2, canary)); err != nil {
			t.Errorf("%v %v", err, f.refused)
		}
	}
}

// TestCredentialsStayNear: what a machine tells its own programs goes through no
// proxy.
func TestCredentialsStayNear(t *testing.T) {
	if near, ok := (Environment{}).near().(*http.Transport); !ok || near.Proxy != nil {
		t.Error("a proxy would see the credentials")
	}
}

// TestCreate: a secret that is not there is made only where that is asked for.
func TestCreate(t *testing.T) {
	f := newFake(t)
	s := f.sink(t, static(secretKey))
	if err := s.Put(t.Context(), token(1, canary)); err == nil || err.Error() != "aws: answered 400 ResourceNotFoundException" || len(f.secrets) != 0 {
		t.Errorf("%v %v", err, f.secrets)
	}
	s.Create = true
	if err := s.Put(t.Context(), token(1, canary)); err != nil {
		t.Fatal(err)
	}
	if there := f.secrets["prod/support"]; there.versions[there.current] != canary {
		t.Errorf("%+v", there)
	}
}

// TestLostAnswer: a call that was executed and whose answer was lost is made
// again and makes no second version, also where it made the secret.
func TestLostAnswer(t *testing.T) {
	for _, create := range []bool{false, true} {
		f := newFake(t)
		s := f.sink(t, static(secretKey))
		if s.Create = create; !create {
			f.secrets["prod/support"] = &secret{versions: map[string]string{}}
		}
		f.lose = 1
		if err := s.Put(t.Context(), token(1, canary)); err == nil || strings.Contains(err.Error(), f.URL) {
			t.Errorf("the answer was not lost: %v", err)
		}
		if err := s.Put(t.Context(), token(1, canary)); err != nil {
			t.Fatal(err)
		}
		if there := f.secrets["prod/support"]; len(there.order) != 1 || there.versions[there.current] != canary {
			t.Errorf("%+v", there)
		}
		// When it is asked for anew, it is the newest version once more.
		if err := s.Put(t.Context(), token(1, canary)); err != nil || len(f.secrets["prod/support"].order) != 2 {
			t.Errorf("%v %+v", err, f.secrets["prod/support"])
		}
	}
}

// TestRefusals: an error has AWS's name for it, and nothing of its message.
func TestRefusals(t *testing.T) {
	f := newFake(t)
	f.secrets["prod/support"] = &secret{versions: map[string]string{}}
	s := f.sink(t, static(secretKey))
	for kind, status := range map[string]int{"ThrottlingException": 400, "AccessDeniedException": 400, "InternalServiceError": 500, "<html>": 502, strings.Repeat("x", 99): 429} {
		f.fault = func(string) (int, string) { return status, kind }
		err := s.Put(t.Context(), token(1, canary))
		e, ok := errors.AsType[*sink.StatusError](err)
		if !ok || e.Status != status || strings.Contains(err.Error(), "8f3a") || status <= 400 && e.Code != kind || strings.ContainsAny(err.Error(), "<") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	f.fault = nil
	if err := s.Put(t.Context(), token(1, canary)); err != nil {
		t.Error(err)
	}
}

// TestCode: the name of an error wherever AWS puts it.
func TestCode(t *testing.T) {
	for _, c := range []struct{ header, body, want string }{
		{"", `{"__type":"AccessDeniedException","message":"m"}`, "AccessDeniedException"},
		{"", `{"__type":"com.amazonaws#ThrottlingException"}`, "ThrottlingException"},
		{"ThrottlingException:http://internal.amazon.com/", `{}`, "ThrottlingException"},
		{"", `not JSON`, ""},
	} {
		h := http.Header{}
		h.Set("X-Amzn-ErrorType", c.header)
		if got := code(h, []byte(c.body)); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestEndpoint: where Secrets Manager is.
func TestEndpoint(t *testing.T) {
	for region, want := range map[string]string{"eu-west-1": "https://secretsmanager.eu-west-1.amazonaws.com/", "cn-north-1": "https://secretsmanager.cn-north-1.amazonaws.com.cn/"} {
		if got := Endpoint(region).String(); got != want {
			t.Error(got)
		}
	}
}

// TestEnds: a place that does not answer is given up with the context.
func TestEnds(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end is not seen
		<-r.Context().Done()
	}))
	defer hanging.Close()
	f := newFake(t)
	s := f.sink(t, static(secretKey))
	s.Endpoint, _ = url.Parse(hanging.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, token(1, canary)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestCredentials: each way in which a machine is told its credentials leads to
// a request that is signed with them; a stand-in plays what tells them.
func TestCredentials(t *testing.T) {
	const document = `{"Code":"Success","AccessKeyId":"AKTEMP","SecretAccessKey":"temp-8f3a","Token":"session-8f3a","Expiration":"2099-01-01T00:00:00Z"}`
	var asked []string
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.Path)
		switch form, _ := url.ParseQuery(string(body)); {
		case r.Method == "PUT" && r.URL.Path == "/latest/api/token" && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "":
			_, _ = io.WriteString(w, "imds-8f3a")
		case strings.HasPrefix(r.URL.Path, "/latest/meta-data/") && r.Header.Get("X-Aws-Ec2-Metadata-Token") != "imds-8f3a":
			w.WriteHeader(401)
		case r.URL.Path == "/latest/meta-data/iam/security-credentials/":
			_, _ = io.WriteString(w, "broker-role\n")
		case r.URL.Path == "/latest/meta-data/iam/security-credentials/broker-role":
			_, _ = io.WriteString(w, document)
		case r.URL.Path == "/pod" && r.Header.Get("Authorization") == "pod-8f3a":
			_, _ = io.WriteString(w, document)
		case r.URL.Path == "/sts" && form.Get("WebIdentityToken") == "identity-8f3a" && form.Get("RoleArn") == "arn:r" && form.Get("Action") == "AssumeRoleWithWebIdentity":
			_, _ = io.WriteString(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
				`<AccessKeyId>AKTEMP</AccessKeyId><SecretAccessKey>temp-8f3a</SecretAccessKey><SessionToken>session-8f3a</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>`+
				`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
		default:
			w.WriteHeader(403)
			_, _ = w.Write(body)
		}
	}))
	defer agent.Close()
	file := t.TempDir() + "/identity"
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		env   map[string]string
		file  string
		calls int
	}{
		"EC2":             {map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": agent.URL}, "", 3},
		"EKS pod":         {map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.URL + "/pod", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": file}, "pod-8f3a\n", 1},
		"ECS":             {map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.URL + "/pod", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-8f3a"}, "", 1},
		"service account": {map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": "arn:r", "AWS_ENDPOINT_URL_STS": agent.URL + "/sts"}, "identity-8f3a\n", 1},
	} {
		f := newFake(t)
		f.keys, f.session = map[string]string{"AKTEMP": "temp-8f3a"}, "session-8f3a"
		f.secrets["prod/support"] = &secret{versions: map[string]string{}}
		s := f.sink(t, func(name string) string { return c.env[name] })
		asked = nil
		write("wrong")
		if c.file != "" {
			if err := s.Put(t.Context(), token(1, canary)); err == nil || strings.Contains(err.Error(), "8f3a") || strings.Contains(err.Error(), agent.URL) {
				t.Errorf("%s: %v", name, err)
			}
			asked = nil
		}
		write(c.file)
		for n := range 3 {
			if err := s.Put(t.Context(), token(uint64(n+1), canary)); err != nil {
				t.Errorf("%s: %v %v", name, err, f.refused)
			}
		}
		if len(asked) != c.calls {
			t.Errorf("%s: asked %v", name, asked)
		}
	}
}

// TestCredentialsHang: one who is asked for credentials and never answers holds
// up no later search, though all who ask share one search.
func TestCredentialsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hanging atomic.Bool
		hanging.Store(true)
		found := Environment{Getenv: func(string) string { return "" }, HTTP: answering(func(r *http.Request) (*http.Response, error) {
			if hanging.Load() {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"AccessKeyId":"AKTEMP","SecretAccessKey":"temp"}`))}, nil
		})}.Credentials()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := found.Retrieve(ctx); err == nil {
			t.Error("it answered")
		}
		time.Sleep(time.Minute) // of the bubble
		hanging.Store(false)
		if c, err := found.Retrieve(t.Context()); err != nil || c.AccessKeyID != "AKTEMP" {
			t.Errorf("%v, %v", c.AccessKeyID, err)
		}
	})
}

type answering func(*http.Request) (*http.Response, error)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// TestNoCredentials: what is missing is said, and a secret is not sent to a host
// that only an environment variable knows, in the clear.
func TestNoCredentials(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"AWS_EC2_METADATA_DISABLED": "true"}, "there are none"},
		{map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://elsewhere.example/"}, "https://"},
		{map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": "r"}, "cannot be read"},
		{map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": os.DevNull, "AWS_ROLE_ARN": "r", "AWS_ENDPOINT_URL_STS": "http://elsewhere.example/"}, "https://"},
	} {
		f := newFake(t)
		err := f.sink(t, func(name string) string { return c.env[name] }).Put(t.Context(), token(1, canary))
		if err == nil || !strings.Contains(err.Error(), c.want) || len(f.calls) != 0 {
			t.Errorf("%v: %v, %v", c.env, err, f.calls)
		}
	}
}
