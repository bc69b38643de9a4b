package revocation

import (
	"testing"
	"time"

	"github.com/jetonhq/jeton"
)

func TestTable(t *testing.T) {
	var table Table
	until := time.Now().Add(time.Hour)
	claims := &jeton.Claims{ID: "j", Family: "f", Generations: map[string]uint64{"user/u": 3, "grant/g": 7}, Expiry: until}
	if err := table.Ended(claims); err != nil {
		t.Fatal(err)
	}
	older := &jeton.Claims{ID: "i", Generations: map[string]uint64{"user/u": 3, "grant/g": 6}, Expiry: until}
	if table.Ended(older) == nil {
		t.Error("a token is good after its successor was seen")
	}
	for _, e := range []Event{
		{Counter: "user/u", Number: 4, Until: until},
		{Token: "j", Until: until},
		{Family: "f", Until: until},
	} {
		var table Table
		before := table.Version()
		if !table.Add(e) || table.Add(e) {
			t.Errorf("%v: the first time is news and the second is not", e)
		}
		if table.Version() == before {
			t.Errorf("%v: the version stayed", e)
		}
		if table.Ended(claims) == nil {
			t.Errorf("%v: the token is still good", e)
		}
	}
}
