package main

import (
	"strings"

	"eureka"
	"eureka/internal/config"
)

type configCmd struct {
	Show  showConfigCmd  `cmd:"" default:"withargs" help:"Print the settings in force and where each comes from."`
	Check checkConfigCmd `cmd:"" help:"Check a settings file, or the settings in force."`
	Docs  docsConfigCmd  `cmd:"" help:"Print the documentation of all settings as Markdown."`
}

type showConfigCmd struct {
	config.Settings

	Config string `help:"YAML file of settings." env:"EUREKA_CONFIG" placeholder:"FILE"`
}

// effective is one setting in force.
type effective struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Run prints the settings in force.
func (c *showConfigCmd) Run(s *session) error {
	var list []effective
	rows := [][]string{{"SETTING", "VALUE", "FROM"}}
	for _, d := range config.Declarations() {
		e := effective{d.Key, d.Value(c.Settings), s.source(d)}
		list = append(list, e)
		rows = append(rows, []string{e.Key, e.Value, e.Source})
	}
	if s.json {
		return s.printJSON(list)
	}
	if err := s.table(rows); err != nil {
		return err
	}
	return c.Verify()
}

// source says where a setting's value comes from.
func (s *session) source(d config.Setting) string {
	for _, p := range s.parsed.Path {
		if p.Flag != nil && p.Flag.Name == d.Flag && !p.Resolved {
			return "flag --" + d.Flag
		}
	}
	if s.getenv(d.Env) != "" {
		return "environment " + d.Env
	}
	if _, ok := s.file.Value(d.Key); ok {
		return "file " + s.file.Path
	}
	return "default"
}

type checkConfigCmd struct {
	config.Settings

	File   string `arg:"" optional:"" help:"The file to check; without it the settings in force."`
	Config string `help:"YAML file of settings." env:"EUREKA_CONFIG" placeholder:"FILE"`
}

// Run checks settings.
func (c *checkConfigCmd) Run(s *session) error {
	if c.File != "" && s.file.Path != c.File {
		// The file must be read before the flags, so the command runs again with it as --config.
		args := append([]string{"config", "check", "--config=" + c.File}, rest(s.parsed.Args, c.File)...)
		if code := s.run(s.ctx, args); code != exitOK {
			return exitCode(code)
		}
		return nil
	}
	if err := c.Verify(); err != nil {
		return err
	}
	name := s.file.Path
	if name == "" {
		name = "the settings in force"
	}
	if s.json {
		return s.printJSON(map[string]bool{"ok": true})
	}
	return s.printf("%s: ok\n", name)
}

// rest returns the flags behind "config check", without the file.
func rest(args []string, file string) []string {
	var flags []string
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") && arg != file {
			flags = append(flags, arg)
		}
	}
	return flags
}

// exitCode is an error that has been reported already.
func exitCode(code int) error {
	for _, c := range eureka.Codes() {
		if c.Outcome().Exit == code {
			return reported{c}
		}
	}
	return reported{eureka.CodeInvalid}
}

// reported is an error whose words have been printed.
type reported struct{ code eureka.Code }

// Error returns the code.
func (r reported) Error() string { return string(r.code) }

type docsConfigCmd struct{}

// Run prints the documentation of the settings.
func (*docsConfigCmd) Run(s *session) error { return s.printf("%s", config.Markdown()) }
