package broker

import (
	"net/http"
	"time"
)

// maxOffset bounds what is believed of a vendor's clock. One that is further
// off is more likely a server that writes its local time as GMT, while its
// tokens say the right one.
const maxOffset = 30 * time.Minute

// clockOffset estimates by how much a vendor's clock is ahead of this one, from
// the Date of an answer (RFC 9110 section 6.6.1) to a request that left at
// began. It matters where a token says when it expires, such as a JWT's exp,
// which is on the vendor's clock. Date counts whole seconds, and was written
// at some time on the way; an offset that is within that error is none.
func clockOffset(h http.Header, began, arrived time.Time) time.Duration {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	way := arrived.Sub(began)
	offset := date.Add(time.Second / 2).Sub(began.Add(way / 2))
	if size := offset.Abs(); size <= time.Second+way/2 || size > maxOffset {
		return 0
	}
	return offset
}

// now is the time on this machine's clock. Records hold times, and are read by
// machines whose clocks differ, so whatever is compared with a record's times
// is asked for here.
func (b *Broker) now() time.Time { return time.Now() }
