package seal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jetonhq/jeton/store"
)

// A Report says which keys the records of a store are sealed with.
type Report struct {
	Sealed   map[string]int // :: key ID -> records that this key seals, also of keys that are not given
	Resealed int            // records that were sealed anew
	Broken   int            // records that do not open, with any of the keys that are given
}

// ErrSealedAgain says that records were sealed with an older key while, or
// after, they were sealed anew: some process has that key first.
var ErrSealedAgain = errors.New("records are still being sealed with an older key")

// Survey opens every record of s, which is a store without its seal, and
// changes nothing. The error names records that do not open, the first few of
// them, by key and the ID of what sealed them; there is a report all the same.
func Survey(ctx context.Context, s store.Store, keys ...Key) (Report, error) {
	w := newSealed(s, keys)
	report := Report{Sealed: map[string]int{}}
	err := w.each(ctx, func(r store.Record) error {
		if id, ok := sealedBy(r); ok {
			report.Sealed[hex.EncodeToString(id[:])]++
		}
		_, err := w.open(r)
		if err != nil {
			report.Broken++
		}
		return err
	})
	return report, err
}

// Reseal seals every record of s anew that is not sealed with the first of the
// keys, and surveys the store then. The record under the key last comes last,
// and only when no other record is left that an older key sealed: so it says
// that the older keys are needed no more. Where it must wait for that, the
// error is [ErrSealedAgain], or names records that do not open as that of
// [Survey] does.
//
// Each record changes by one compare-and-swap that leaves its value as it is,
// so s may be in use, Reseal may be stopped at any time, and several may run.
// Whoever was about to write the record meets a conflict and reads it again,
// and a lease that nobody renews seems alive once more.
func Reseal(ctx context.Context, s store.Store, last string, keys ...Key) (Report, error) {
	w := newSealed(s, keys)
	resealed := 0
	err := w.each(ctx, func(r store.Record) error {
		if r.Key == last {
			return nil
		}
		changed, err := w.reseal(ctx, r)
		if changed {
			resealed++
		}
		if unreadable(err) {
			return nil // the survey says so
		}
		return err
	})
	if err != nil {
		return Report{Resealed: resealed}, err
	}
	report, err := Survey(ctx, s, keys...)
	report.Resealed = resealed
	if err != nil {
		return report, err
	}
	r, err := s.Get(ctx, last)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return report, err
	}
	older := 0
	for id, n := range report.Sealed {
		if id != hex.EncodeToString(w.first[:]) {
			older += n
		}
	}
	id, there := sealedBy(r)
	if there && id != w.first {
		older--
	}
	if older > 0 {
		return report, ErrSealedAgain
	}
	changed, err := w.reseal(ctx, r)
	if changed {
		report.Resealed++
		report.Sealed[hex.EncodeToString(id[:])]--
		report.Sealed[hex.EncodeToString(w.first[:])]++
	}
	return report, err
}

// reseal seals a record anew unless the first key seals it, and reports whether
// it did. A record that is gone is settled.
func (w *sealed) reseal(ctx context.Context, r store.Record) (bool, error) {
	for r.Version != "" {
		if id, ok := sealedBy(r); ok && id == w.first {
			return false, nil
		}
		plain, err := w.open(r)
		if err != nil {
			return false, err
		}
		if _, err = w.Put(ctx, plain); !errors.Is(err, store.ErrConflict) {
			return err == nil, err
		}
		r, err = w.Store.Get(ctx, r.Key)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// each calls f for every record, as it is sealed. It goes on after records that
// do not open, and its error names some of them.
func (w *sealed) each(ctx context.Context, f func(store.Record) error) error {
	const batch, named = 256, 10
	var broken []error
	more := 0
	after := ""
	for {
		list, err := w.Store.List(ctx, "", after, batch)
		if err != nil {
			return err
		}
		for _, r := range list {
			switch err := f(r); {
			case err != nil && !unreadable(err):
				return err
			case err != nil && len(broken) == named:
				more++
			case err != nil:
				broken = append(broken, err)
			}
			after = r.Key
		}
		if len(list) < batch {
			break
		}
	}
	if more > 0 {
		broken = append(broken, fmt.Errorf("seal: and %d more", more))
	}
	return errors.Join(broken...)
}

// unreadable reports whether an error is about what a record holds.
func unreadable(err error) bool {
	return errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNotSealed) || errors.Is(err, ErrTampered)
}

// sealedBy returns the ID of the key that sealed a record.
func sealedBy(r store.Record) (id [idSize]byte, ok bool) {
	if len(r.Value) < minSize || r.Value[0] != format {
		return id, false
	}
	return [idSize]byte(r.Value[1:headerSize]), true
}
