package dialect

// NeedsOrigin reports whether the dialect names no host of its own, so that an
// account is to say where the vendor is.
func (d *Dialect) NeedsOrigin() bool {
	a := d.first().url
	if d.Login.Method == "" {
		a = d.Call.base
	}
	return a.scheme == "" && a.root == ""
}

// URL returns the exchange's URL as the file has it, holes as $name.
func (x *Exchange) URL() string { return x.url.String() }

// URL returns where the vendor's API stands as the file has it, holes as $name.
func (c *Call) URL() string { return c.base.String() }
