package dialect

import "strings"

// AccountVars returns all that an account may give, each once: first what logins
// demand, as [Dialect.LoginVars] has it, then what calls wear, the settings under
// vars, and what logins take and can do without, scope for one.
func (d *Dialect) AccountVars() []string {
	names := appendNew(d.LoginVars(), d.CallVars()...)
	for _, v := range d.Vars {
		names = appendNew(names, v.Name)
	}
	return appendNew(names, d.loginNeeds()...)
}

// PEM reports whether a kind that [Dialect.Kinds] gives is a certificate or a key:
// text of several lines.
func PEM(kind string) bool {
	switch strings.TrimRight(kind, "0123456789") {
	case "certificate", "signing certificate", "key", "RS", "PS", "ES", "EdDSA":
		return true
	}
	return false
}
