package chaos

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is one place where a process runs, time and again.
type process struct {
	world *world
	name  string
	args  []string // the program first
	env   []string // beside those of this process

	mu      sync.Mutex
	command *exec.Cmd
	ended   chan struct{} // of command
	meant   bool          // its end is wanted
}

func (p *process) log() string { return filepath.Join(p.world.dir, p.name+".log") }

// start starts the process; one that ends unasked is a trouble.
func (p *process) start() {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.world.wrong("%v", err)
		return
	}
	command := exec.CommandContext(context.Background(), p.args[0], p.args[1:]...)
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), p.env...)
	// Some processes end when this one is gone: nothing is ever written here.
	stdin, err := command.StdinPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		_ = log.Close()
		p.world.wrong("%s does not start: %v", p.name, err)
		return
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.command, p.ended, p.meant = command, ended, false
	p.mu.Unlock()
	go p.watch(command, ended, log, stdin)
}

func (p *process) watch(command *exec.Cmd, ended chan<- struct{}, opened ...io.Closer) {
	defer close(ended)
	err := command.Wait()
	for _, c := range opened {
		_ = c.Close() // Wait has closed some
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.meant {
		p.world.wrong("%s ended by itself: %v; see %s", p.name, err, p.log())
	}
}

// end sends a signal and waits for the end; it reports whether the process ended in time.
func (p *process) end(signal os.Signal, within time.Duration) bool {
	p.mu.Lock()
	command, ended := p.command, p.ended
	p.meant = true
	p.mu.Unlock()
	if command == nil {
		return true
	}
	_ = command.Process.Signal(signal) // fails when it has ended
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

func (p *process) signal(signal os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command != nil {
		_ = p.command.Process.Signal(signal) // fails when it has ended
	}
}

func (p *process) kill() {
	if !p.end(syscall.SIGKILL, patience) {
		p.world.wrong("%s cannot be killed", p.name)
	}
}

// stop ends the process as an operator does.
func (p *process) stop() {
	if !p.running() {
		return // that was said when it ended
	}
	if !p.end(syscall.SIGTERM, patience) {
		p.world.wrong("%s does not stop", p.name)
		p.kill()
		return
	}
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		p.world.wrong("%s stopped with exit code %d; see %s", p.name, code, p.log())
	}
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}
