package graphql

import "testing"

// What is remembered is bounded, and what is asked for stays.
func TestTwoGenerations(t *testing.T) {
	var c twoGenerations[int, int]
	const most, size = 8000, 100
	for i := range 1000 {
		c.put(i, i, size, most)
		if got, ok := c.get(0, most); !ok || got != 0 {
			t.Fatalf("what is asked for all the time is forgotten after %d others", i)
		}
		held := 0
		for k := range 1000 {
			if _, ok := c.new[k]; ok {
				held += size
			}
			if _, ok := c.old[k]; ok {
				held += size
			}
		}
		if held > most {
			t.Fatalf("%d bytes are held", held)
		}
	}
	if _, ok := c.get(1, most); ok {
		t.Error("nothing is forgotten")
	}
	if c.put(-1, 0, most/8+1, most); len(c.new)+len(c.old) > most/size {
		t.Error("too much is held")
	}
	if _, ok := c.get(-1, most); ok {
		t.Error("what is too large is remembered")
	}
}
