package revocation

// ClaimName is the claim of an access token that holds a [Claim].
const ClaimName = "jtn"

// A Claim says in an access token what can end it. What has its place in a
// registered claim is not repeated here.
type Claim struct {
	// Generations are the counters at the time of the login, by kind and ID, as
	// in "user/5f2c…". A token is good while none of them has moved on. The
	// counter "grant/…" is raised by each token of one owner and audience,
	// where a new token ends the one before it.
	Generations map[string]uint64 `json:"g"`

	Family  string            `json:"f,omitempty"` // refresh family
	Bound   map[string]string `json:"b,omitempty"` // variable -> jeton.Fingerprint of what must be worn with the token
	Subject string            `json:"s,omitempty"` // the subject's ID, if the dialect gives sub another meaning
}
