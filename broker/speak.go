package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jetonhq/jeton/dialect"
)

// SetDialect has an account speak another dialect: from its next login on and,
// within a second, in its calls. A login that runs goes on as it began, and the
// token that there is stays.
//
// It refuses a dialect under which the account would be another one: with
// another name, with other variables that say who logs in, that differs in
// whether a new token ends the one before it or in whether there are tokens at
// all. Such a one takes a new broker. The account then goes on as before.
func (b *Broker) SetDialect(ctx context.Context, account string, d *dialect.Dialect) error {
	b.init()
	e := b.byName[account]
	if e == nil {
		return fmt.Errorf("%w %q", ErrUnknownAccount, account)
	}
	was := e.account.dialect()
	switch {
	case d.Name != was.Name:
		return errors.New("broker: the dialect has another name")
	case d.Active != was.Active:
		return errors.New("broker: the dialect has another number of tokens that live at once")
	case d.Tokenless() != was.Tokenless():
		return errors.New("broker: one of the dialects has no tokens")
	}
	if k := e.keeper.Load(); k != nil {
		next := *e.account
		next.Dialect, next.spoken = d, nil
		vars, err := next.variables(ctx)
		if err != nil {
			return err
		}
		if next.recordKey(vars) != k.key {
			return errors.New("broker: the dialect has other variables that say who logs in")
		}
	}
	e.account.spoken.Store(d)
	return nil
}

// dialect returns what the account speaks now.
func (a *Account) dialect() *dialect.Dialect {
	if a.spoken == nil {
		return a.Dialect
	}
	return a.spoken.Load()
}
