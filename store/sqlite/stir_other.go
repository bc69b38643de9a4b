//go:build !linux

package sqlite

import "errors"

// stir is for systems that tell of writes to a file. Elsewhere the file is
// looked at more often.
func stir(string, func()) (stop func(), err error) {
	return nil, errors.ErrUnsupported
}
