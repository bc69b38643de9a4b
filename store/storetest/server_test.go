package storetest

import "testing"

// No address is given twice, also if nobody listens at it.
func TestFreeAddr(t *testing.T) {
	given := map[string]bool{}
	for range 2000 {
		addr, err := FreeAddr()
		if err != nil {
			t.Fatal(err)
		}
		if given[addr] {
			t.Fatalf("%s is given twice", addr)
		}
		given[addr] = true
	}
}
