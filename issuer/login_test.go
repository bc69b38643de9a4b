package issuer

import (
	"net/http"
	"testing"

	"github.com/jetonhq/jeton"
)

// The documented answers, field by field.
func TestLogin(t *testing.T) {
	for name, fields := range map[string]map[string]any{
		"iadvize": {"expires_in": 86400.0, "token_type": "Bearer", "refresh_token": "none"},
		"altrata": {"expires_in": 28800.0, "token_type": "bearer", "refresh_token": nil},
		"alvys":   {"expires_in": 3600.0, "token_type": "Bearer", "refresh_token": nil},
		"web1on1": {"tokenType": "Bearer", "scope": "admin", "expires_in": nil},
		"oauth2":  {"expires_in": 3600.0, "token_type": "Bearer", "refresh_token": nil, "scope": "read write"},
	} {
		t.Run(name, func(t *testing.T) {
			b := seeded(t, name, nil, nil)
			a := b.login()
			want(t, a, http.StatusOK)
			for field, value := range fields {
				if a.body[field] != value {
					t.Errorf("%s is %v, want %v", field, a.body[field], value)
				}
			}
			if a.header.Get("Cache-Control") != "no-store" {
				t.Error("the answer can be cached")
			}
			if token := first(a.text("access_token"), a.text("token")); !b.good(token) {
				t.Error("the token is not good")
			}
			log := b.entries("login")
			if len(log) != 1 || log[0].Outcome != "ok" || log[0].TokenID == "" || log[0].IP != "192.0.2.1" || log[0].Actor == "" {
				t.Errorf("audit: %+v", log)
			}
			if name == "iadvize" || name == "web1on1" {
				want(t, b.loginWith("wrong"), 400, jeton.InvalidGrant) // the password is in the body
			} else {
				want(t, b.loginWith("wrong"), 401, jeton.InvalidClient)
			}
		})
	}
}
