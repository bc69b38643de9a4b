package dialect_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// TestEveryCookie: one hole stands for all cookies of an answer, and goes along
// with calls as it came.
func TestEveryCookie(t *testing.T) {
	d, err := dialect.Parse("x.yaml", []byte(`
dialect: x
token:
  POST: https://x.example/login
  json: {user: $username, password: $password}
  set_cookie: $access_token
call: {base: https://x.example, cookies: $access_token}
`))
	if err != nil {
		t.Fatal(err)
	}
	const both = "B1SESSION=0a-1b; ROUTEID=.node2"
	w := httptest.NewRecorder()
	if err := d.WriteResponse(w, d.Login, jeton.Vars{"access_token": both}); err != nil {
		t.Fatal(err)
	}
	if lines := w.Header().Values("Set-Cookie"); len(lines) != 2 || lines[1] != "ROUTEID=.node2; Path=/; Secure; HttpOnly" {
		t.Errorf("written: %q", lines)
	}
	vars, err := d.ReadResponse(d.Login, 200, w.Header(), w.Body.Bytes(), time.Now())
	if err != nil || vars["access_token"] != both {
		t.Errorf("read: %v %v", map[string]string(vars), err)
	}
	r := httptest.NewRequest("GET", "/x", nil)
	if err := d.WriteCall(r, vars); err != nil || r.Header.Get("Cookie") != both {
		t.Errorf("worn: %q, %v", r.Header.Get("Cookie"), err)
	}
	if got, err := d.ReadCall(r); err != nil || got["access_token"] != both {
		t.Errorf("seen: %v %v", map[string]string(got), err)
	}
	for _, bad := range []string{"a", "a=", "=b", "a=b;c=d", "a=b; c", "a b=c", "a=b\r\nX: y", "a=b; ; c=d"} {
		if err := d.WriteCall(r, jeton.Vars{"access_token": bad}); err == nil {
			t.Errorf("%q was worn", bad)
		}
	}
}
