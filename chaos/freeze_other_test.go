//go:build !unix

package chaos

// freeze does nothing where there is no signal for it.
func (p *process) freeze() {}

func (p *process) thaw() {}
