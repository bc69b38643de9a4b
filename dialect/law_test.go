package dialect_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
)

// hostile are values that break a codec which quotes by hand.
func hostile(extra ...string) *rapid.Generator[string] {
	samples := append([]string{
		"a b", "a+b", "50%", "%41", "x&y=z", "a:b", `"quoted"`, `back\slash`, "it's", "é", "日本語", "🔑", "<tag>&amp;",
		"line\nbreak", "tab\there", "nul\x00", "trailing ", " leading", "/", "..", ".", "a/b", "#", "?", "$name", "${x}",
		"null", "true", "0", "none", "\u2028", "\ufeff", strings.Repeat("long/", 2000),
	}, extra...)
	return rapid.OneOf(rapid.SampledFrom(samples), rapid.StringN(1, 200, -1))
}

func every(t *testing.T, f func(t *testing.T, d *dialect.Dialect)) {
	for _, name := range dialects.Names() {
		t.Run(name, func(t *testing.T) {
			d, err := dialects.Load(name)
			if err != nil {
				t.Fatal(err)
			}
			f(t, d)
		})
	}
}

// drawVars draws a value for each hole, as the hole's meaning allows.
func drawVars(t *rapid.T, d *dialect.Dialect, holes []string) jeton.Vars {
	vars := jeton.Vars{}
	for _, hole := range holes {
		switch hole {
		case "scope", "resource":
			if words := rapid.SliceOfNDistinct(rapid.StringMatching(`[!#-\[\]-~]{1,12}`), 0, 3, rapid.ID[string]).Draw(t, hole); len(words) > 0 {
				vars[hole] = strings.Join(words, " ")
			}
		case "expires_in":
			vars[hole] = rapid.StringMatching(`[1-9][0-9]{0,8}`).Draw(t, hole)
		default:
			vars[hole] = hostile().Draw(t, hole)
		}
	}
	return vars
}

// TestLawRequest: what is written over a real wire is read back, for every
// request of every dialect; what could not be read back is refused.
func TestLawRequest(t *testing.T) {
	origin, _ := url.Parse("http://127.0.0.1:1/prefix")
	every(t, func(t *testing.T, d *dialect.Dialect) {
		for _, x := range append(append([]*dialect.Exchange{d.Login}, d.Refresh...), d.Accept...) {
			written := 0
			rapid.Check(t, func(t *rapid.T) {
				vars := drawVars(t, d, x.Holes())
				r, err := d.WriteRequest(context.Background(), x, origin, vars)
				if err != nil {
					leaks(t, err, vars)
					return
				}
				written++
				server, body := overTheWire(t, r)
				server.URL.Path = strings.TrimPrefix(server.URL.Path, "/prefix")
				server.URL.RawPath = strings.TrimPrefix(server.URL.RawPath, "/prefix")
				got, back, err := received(d.ReadRequest(server, body))
				if err != nil {
					t.Fatalf("%s %s: %v", r.Method, x.Path(), err)
				}
				if diff := cmp.Diff(vars, back); diff != "" || got.Kind != x.Kind {
					t.Fatalf("%s became %s %s", x.Kind, got.Kind, diff)
				}
			})
			if written < 20 {
				t.Errorf("only %d messages of %s could be written", written, x.Kind)
			}
		}
	})
}

// TestLawResponse: likewise for answers.
func TestLawResponse(t *testing.T) {
	every(t, func(t *testing.T, d *dialect.Dialect) {
		for _, x := range append([]*dialect.Exchange{d.Login}, d.Refresh...) {
			rapid.Check(t, func(t *rapid.T) {
				var holes []string
				for _, hole := range []string{"access_token", "expires_in", "refresh_token", "token_type", "scope", "user_id"} {
					if x.Returns(hole) {
						holes = append(holes, hole)
					}
				}
				vars := drawVars(t, d, holes)
				w := httptest.NewRecorder()
				if err := d.WriteResponse(w, x, vars); err != nil {
					t.Fatal(err)
				}
				if got := w.Header().Get("Cache-Control"); got != "no-store" {
					t.Fatalf("Cache-Control is %q", got)
				}
				back, err := d.ReadResponse(x, w.Code, w.Header(), w.Body.Bytes(), time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(vars, back); diff != "" {
					t.Fatal(diff)
				}
			})
		}
	})
}

// TestLawCall: a call wears what the guard then finds.
func TestLawCall(t *testing.T) {
	every(t, func(t *testing.T, d *dialect.Dialect) {
		written := 0
		rapid.Check(t, func(t *rapid.T) {
			vars := jeton.Vars{"access_token": rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9._-]{1,80}`), hostile()).Draw(t, "access_token")}
			if d.Login.Has("api_key") {
				vars["api_key"] = hostile().Draw(t, "api_key")
			}
			r := httptest.NewRequest("GET", "/x", nil)
			r.Header.Set("Authorization", "Bearer somebody-else")
			if err := d.WriteCall(r, vars); err != nil {
				leaks(t, err, vars)
				return
			}
			written++
			server, _ := overTheWire(t, r)
			back, err := d.ReadCall(server)
			if err != nil && strings.Contains(vars["access_token"], ",") {
				return // a list of tokens is never taken
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(vars, back); diff != "" {
				t.Fatal(diff)
			}
		})
		if written < 20 {
			t.Errorf("only %d calls could be written", written)
		}
	})
}

// TestLawClaims: the vendor's claims give back what they were made of.
func TestLawClaims(t *testing.T) {
	d, err := dialects.Load("web1on1")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		vars := jeton.Vars{"user_id": hostile().Draw(t, "user_id"), "scope": "admin"}
		if diff := cmp.Diff(vars, d.ReadClaims(d.Claims(vars))); diff != "" {
			t.Fatal(diff)
		}
	})
}

func overTheWire(t *rapid.T, r *http.Request) (*http.Request, []byte) {
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	server, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(server.Body)
	if err != nil {
		t.Fatal(err)
	}
	return server, body
}

// leaks fails if an error shows a value.
func leaks(t *rapid.T, err error, vars jeton.Vars) {
	for name, text := range vars {
		if len(text) > 6 && strings.Contains(err.Error(), text) {
			t.Fatalf("the error shows $%s: %v", name, err)
		}
	}
}
