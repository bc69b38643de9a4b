package broker

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
)

// TestCallsWearWhatChanged: what was worked out for the calls of an account
// holds for a second where its variables change, and not for a call where the
// token does.
func TestCallsWearWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, c := newVendor(t, "altrata"), newCredentials()
		b := v.broker(slowStore(), c)
		h := b.Egress()
		wears := func(texts ...string) {
			t.Helper()
			w := ask(h, "GET", "/to/a/x", "")
			seen := v.seen[len(v.seen)-1]
			for _, text := range texts {
				if w.Code != 200 || !strings.Contains(seen, text) {
					t.Errorf("%d: the vendor saw %s, want %s", w.Code, seen, text)
				}
			}
		}
		wears("[k]", "token-1")
		c.set("api_key", "another")
		time.Sleep(resolveEvery)
		wears("[another]", "token-1")
		if _, err := b.Report(t.Context(), "a", 1); err != nil {
			t.Fatal(err)
		}
		wears("[another]", "token-2")
		closeBroker(t, b)
	})
}

// TestSourceLeavesRequests: a RoundTripper does not change the request that it
// is given; the next call may begin from it.
func TestSourceLeavesRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "altrata")
		b := v.broker(slowStore(), newCredentials())
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://vendor.test/prefix/x?a=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer mine")
		answer, err := b.Source("a", nil).RoundTrip(r)
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("%v %v", answer, err)
		}
		_ = answer.Body.Close()
		if r.Header.Get("Authorization") != "Bearer mine" || len(r.Header) != 1 || r.URL.String() != "http://vendor.test/prefix/x?a=1" {
			t.Errorf("%v %v", r.URL, r.Header)
		}
		closeBroker(t, b)
	})
}

// TestSlowAnswerPasses: a part of an answer reaches the caller though the next
// one is not there yet, also where the length of the whole is known.
func TestSlowAnswerPasses(t *testing.T) {
	v := newVendor(t, "iadvize")
	v.latency = 0
	b := v.broker(slowStore(), newCredentials())
	defer closeBroker(t, b)
	body, upstream := io.Pipe()
	login := b.HTTP
	b.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			return login.RoundTrip(r)
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Length": {"2"}}, ContentLength: 2, Body: body, Request: r}, nil
	})
	server := httptest.NewServer(b.Egress())
	defer server.Close()
	defer upstream.Close()
	go func() { _, _ = upstream.Write([]byte("a")) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/to/a/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if n, err := io.ReadFull(answer.Body, make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the first part did not come: %v", err)
	}
}

// TestEgressPath: the short way for plain paths lets through nothing that the
// long one refuses.
func TestEgressPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"/to/a": true, "/to/a/": true, "/to/a/x/y": true, "/to/a/x.json": true, "/to/a/..x/x..": true, "/to/a/x;y=1": true, "/to/a/x%20y": true, "/to/a%2Fb/x": true,
		"/to/": false, "/to//x": false, "/x/a": false, "/to/a//x": false, "/to/a/x//": false, "/to/a/.": false, "/to/a/x/..": false,
		"/to/a/..;x": false, "/to/a/.%2e/x": false, "/to/a/x%5Cy": false, "/to/a/%2F": false, "/to/a/..%20/x": false, "/to/a/%2e": false, "/to/a/%00": false,
	} {
		u, err := url.Parse("http://x" + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := egressPath(u); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := egressPath(&url.URL{Path: `/to/a/x\y`, RawPath: `/to/a/x\y`}); err == nil {
		t.Error("a backslash passed")
	}
}

// TestUsedWay: the way of the credential that brought the token is looked for
// again when another one brings it.
func TestUsedWay(t *testing.T) {
	d := newVendor(t, "altrata").d
	a := &Account{Name: "a", Dialect: d}
	one, two := newCredentials().vars, newCredentials().vars.Clone()
	two["password"] = "another"
	r := &resolved{ways: []*way{newWay(a, a.Dialect, one), newWay(a, a.Dialect, two)}}
	v := &view{record: record{Salt: []byte("salt")}}
	for _, i := range []int{1, 0, 0, 1} {
		v.Taken = v.fingerprint(d, []jeton.Vars{one, two}[i])
		if r.inUse(v, d) != r.ways[i] {
			t.Errorf("the way of credential %d is not the one in use", i)
		}
	}
}
