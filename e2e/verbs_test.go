package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rogpeppe/go-internal/testscript"
)

// verbs are what the scripts can say beside testscript's own.
func verbs() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"serve":  verbServe,
		"make":   verbMake,
		"stop":   verbStop,
		"crash":  verbCrash,
		"ready":  verbReady,
		"nats":   verbNATS,
		"socket": verbSocket,
		"start":  verbStart,
		"send":   verbSend,
		"ask":    verbAsk,
		"expect": verbExpect,
		"refute": verbRefute,
		"hangup": verbHangup,
		"until":  verbUntil,
		"field":  verbField,
		"aws":    verbAWS,
		"heard":  verbHeard,
		"fault":  verbFault,
		"crowd":  verbCrowd,
		"break":  verbBreak,
		"topic":  verbTopic,
		"report": verbReport,
		"sqs":    verbSQS,
	}
}

func noNegation(ts *testscript.TestScript, neg bool) {
	if neg {
		ts.Fatalf("! has no meaning here")
	}
}

// serve [NAME] [FLAG…] starts a node and waits until it takes traffic. It sets $URL, $WS, $HOST and $PORT, with _NAME behind them
// for a node with a name, and $MANAGEMENT, where @connections is. In the mode aws it is the simulator with the script's stage that
// starts; then $CONTROL is its control endpoint, and $SIMULATE are the flags for another simulator on the same
// stand-ins, beside the stage.
func verbServe(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	if worldOf(ts).mode == aws {
		simulate(ts, args)
		return
	}
	name, flags := nameOf(args)
	address := nodeAddress(ts, name)
	ts.Setenv("MANAGEMENT"+name, "http://"+address)
	flags = append([]string{"serve", "--listen", address}, flags...)
	if !strings.Contains(strings.Join(flags, " "), "--data-dir") {
		flags = append(flags, "--data-dir", ts.MkAbs("data"+name))
	}
	p := start(ts, "serve"+name, "eureka", flags)
	awaitReady(ts, p, address, patience)
}

// make TARGET [VARIABLE=VALUE…] runs the main job as the README says and waits until it takes traffic.
func verbMake(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	address := nodeAddress(ts, "")
	args = append([]string{"-C", ts.Getenv("ROOT")}, args...)
	p := start(ts, "serve", "make", append(args, "ARGS=--listen "+address+" --data-dir "+ts.MkAbs("data")))
	awaitReady(ts, p, address, 5*patience) // it is built first
}

func nameOf(args []string) (name string, rest []string) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return "_" + args[0], args[1:]
	}
	return "", args
}

// nodeAddress gives a node its address, and the same one when it comes back.
func nodeAddress(ts *testscript.TestScript, name string) string {
	address := ts.Getenv("HOST" + name)
	if address == "" {
		var err error
		address, err = freeAddress()
		ts.Check(err)
	}
	_, port, err := net.SplitHostPort(address)
	ts.Check(err)
	for key, value := range map[string]string{"HOST": address, "PORT": port, "URL": "http://" + address, "WS": "ws://" + address} {
		ts.Setenv(key+name, value)
	}
	if name == "" {
		ts.Setenv("EUREKA_URL", "http://"+address)
	}
	return address
}

func awaitReady(ts *testscript.TestScript, p *process, address string, within time.Duration) {
	ts.Check(pollFor(within, func() error {
		if !p.running() {
			return final{fmt.Errorf("it ended before it was ready:\n%s", p.text())}
		}
		if status("http://"+address+"/readyz") != 200 {
			return fmt.Errorf("%s is not ready:\n%s", address, p.text())
		}
		return nil
	}))
}

// stop [NAME] ends a node as an operator does, and expects exit code 0.
func verbStop(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	name, _ := nameOf(args)
	p := processOf(ts, "serve"+name)
	ts.Check(p.command.Process.Signal(syscall.SIGTERM))
	if err := p.wait(); err != nil {
		ts.Fatalf("%v:\n%s", err, p.text())
	}
}

// crash [NAME] ends a node at once, as a crash does.
func verbCrash(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	if worldOf(ts).mode == aws {
		crashAll(ts)
		return
	}
	name, _ := nameOf(args)
	p := processOf(ts, "serve"+name)
	ts.Check(p.command.Process.Kill())
	<-p.done
}

// ready STATUS [NAME] waits until /readyz answers so.
func verbReady(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	name, _ := nameOf(args[1:])
	ts.Check(poll(func() error {
		if got := status(ts.Getenv("URL"+name) + "/readyz"); strconv.Itoa(got) != args[0] {
			return fmt.Errorf("/readyz answers %d", got)
		}
		return nil
	}))
}

// nats start|stop runs an external NATS server with JetStream; it comes back at the same address. It sets $NATS.
func verbNATS(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	w := worldOf(ts)
	if args[0] == "stop" {
		w.nats.Shutdown()
		w.nats.WaitForShutdown()
		w.nats = nil
		return
	}
	address := strings.TrimPrefix(ts.Getenv("NATS"), "nats://")
	if address == "" {
		var err error
		address, err = freeAddress()
		ts.Check(err)
	}
	_, port, err := net.SplitHostPort(address)
	ts.Check(err)
	number, err := strconv.Atoi(port)
	ts.Check(err)
	w.nats, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: number, JetStream: true, StoreDir: ts.MkAbs("nats"), NoLog: true, NoSigs: true,
	})
	ts.Check(err)
	w.nats.Start()
	if !w.nats.ReadyForConnections(patience) {
		ts.Fatalf("NATS does not start")
	}
	ts.Setenv("NATS", "nats://"+address)
}

// socket NAME URL connects a real wscat.
func verbSocket(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	start(ts, args[0], "wscat", []string{"-c", args[1]})
}

// start NAME PROGRAM ARG… runs a program in the background.
func verbStart(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	start(ts, args[0], args[1], args[2:])
}

// send NAME TEXT types a line.
func verbSend(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	_, err := fmt.Fprintln(processOf(ts, args[0]).input, args[1])
	ts.Check(err)
}

// ask NAME LINE REGEXP sends a line until its answer comes: wscat drops what it reads before its socket is open, which the service knows of earlier.
func verbAsk(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	p := processOf(ts, args[0])
	ts.Check(pollFor(patience, func() error {
		if _, err := fmt.Fprintln(p.input, args[1]); err != nil {
			return final{err}
		}
		return p.expectWithin(patience/12, args[2])
	}))
}

// expect NAME REGEXP waits for output behind what earlier expectations have seen.
func verbExpect(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	ts.Check(processOf(ts, args[0]).expect(args[1]))
}

// refute NAME TEXT fails when the text is anywhere in the output so far. It is only worth something behind an expectation.
func verbRefute(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	if text := processOf(ts, args[0]).text(); strings.Contains(text, args[1]) {
		ts.Fatalf("%q is in:\n%s", args[1], text)
	}
}

// heard NAME REGEXP VALUE… waits for as many matches in all of the output as there are values, and fails unless what the regexp's group
// matched is exactly these, in this order.
func verbHeard(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	p, want := processOf(ts, args[0]), args[2:]
	expression, err := regexp.Compile(args[1])
	ts.Check(err)
	ts.Check(poll(func() error {
		var got []string
		for _, match := range expression.FindAllStringSubmatch(p.text(), -1) {
			got = append(got, match[1])
		}
		switch {
		case slices.Equal(got, want):
			return nil
		case len(got) < len(want):
			return fmt.Errorf("heard %q, not yet %q", got, want)
		default:
			return final{fmt.Errorf("heard %q instead of %q", got, want)}
		}
	}))
}

// hangup NAME interrupts a program, as Ctrl+C does, and waits for its end.
func verbHangup(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	p := processOf(ts, args[0])
	ts.Check(p.command.Process.Signal(os.Interrupt))
	var exit interface{ ExitCode() int }
	if err := p.wait(); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
}

// until REGEXP PROGRAM ARG… runs a program again and again until its output matches.
func verbUntil(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	ts.Check(poll(func() error {
		p := run1(ts, args[1], args[2:])
		if err := p.expect(args[0]); err != nil {
			return errors.New(err.Error())
		}
		return nil
	}))
}

// run1 runs a program to its end.
func run1(ts *testscript.TestScript, program string, args []string) *process {
	worldOf(ts).mu.Lock()
	delete(worldOf(ts).processes, "until")
	worldOf(ts).mu.Unlock()
	p := start(ts, "until", program, args)
	if err := p.input.Close(); !errors.Is(err, os.ErrClosed) { // the program may have ended first
		ts.Check(err)
	}
	if err := p.wait(); err != nil && p.running() {
		ts.Fatalf("%v", err)
	}
	return p
}

// field VARIABLE PATH sets a variable to a field of the JSON in stdout.
func verbField(ts *testscript.TestScript, neg bool, args []string) {
	noNegation(ts, neg)
	value, err := field(ts.ReadFile("stdout"), args[1])
	ts.Check(err)
	ts.Setenv(args[0], value)
}

func processOf(ts *testscript.TestScript, name string) *process {
	w := worldOf(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.processes[name]
	if p == nil {
		ts.Fatalf("%s was never started", filepath.Base(name))
	}
	return p
}
