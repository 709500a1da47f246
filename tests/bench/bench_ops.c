/*
 * tests/bench/bench_ops.c - what bench.py times, without an interpreter in it.
 *
 *	read DIR               reads every file below DIR once
 *	files DIR N RATE       makes N files of 64 bytes, each other content;
 *	                       RATE a second, 0: as fast as it goes
 *	run PROGRAM N          executes PROGRAM N times, one after the other; prints ns
 *	kill PROGRAM N MS      executes PROGRAM N times, MS ms apart; prints for each the
 *	                       ns from just before execve(2) until waitpid(2) told of SIGKILL
 *	copy FROM TO           copies every file of FROM into the new directory TO, fsync after each
 *	fildes SOCKET DIR      asks clamd for each file below DIR, by descriptor, one after the
 *	                       other in one session; prints how many, and ns from request to verdict
 *	sleep                  sleeps (as the program that is to be killed)
 *	exit                   leaves at once (as the clean program)
 */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC   1000000000LL
#define GIVE_UP_SECS 10
#define PER_DIR	     200U

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static void sleep_until(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
		;
}

static int read_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static char buf[65536];
	int fd;

	(void)st;
	(void)ftw;
	if (type != FTW_F)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
	return 0;
}

static void do_read(char **argv)
{
	if (nftw(argv[0], read_one, 16, FTW_PHYS) != 0)
		err(1, "%s", argv[0]);
}

static void make_file(const char *dir, unsigned n)
{
	char path[512], text[65];
	int fd;

	if (n % PER_DIR == 0) {
		snprintf(path, sizeof(path), "%s/%u", dir, n / PER_DIR);
		if (mkdir(path, 0755) != 0)
			err(1, "%s", path);
	}
	snprintf(path, sizeof(path), "%s/%u/%u", dir, n / PER_DIR, n);
	snprintf(text, sizeof(text), "%-30.30s %012lld %-19u", dir, (long long)now() % 1000000000000LL, n);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, 64) != 64)
		err(1, "%s", path);
	close(fd);
}

static void do_files(char **argv)
{
	unsigned count = (unsigned)atoi(argv[1]), rate = (unsigned)atoi(argv[2]);
	int64_t begin = now();

	for (unsigned n = 0; n < count; n++) {
		/* In steps of a millisecond or one file, whatever is longer. */
		if (rate && (rate < 1000 || n % (rate / 1000) == 0))
			sleep_until(begin + (int64_t)n * NS_PER_SEC / rate);
		make_file(argv[0], n);
	}
}

static void do_run(char **argv)
{
	int count = atoi(argv[1]);
	int64_t begin = now();

	for (int i = 0; i < count; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			execl(argv[0], argv[0], "exit", (char *)NULL);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			errx(1, "%s did not run", argv[0]);
	}
	printf("%lld\n", (long long)(now() - begin));
}

static int64_t time_kill(const char *program, int64_t *begin)
{
	int64_t end;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(GIVE_UP_SECS);
		*begin = now();
		execl(program, program, "sleep", (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		err(1, "%s", program);
	end = now();
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		errx(1, "%s was not killed (status %#x)", program, (unsigned)status);
	return end - *begin;
}

static void do_kill(char **argv)
{
	int64_t *begin = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int count = atoi(argv[1]), ms = atoi(argv[2]);

	if (begin == MAP_FAILED)
		err(1, "mmap");
	for (int i = 0; i < count; i++) {
		printf("%lld\n", (long long)time_kill(argv[0], begin));
		sleep_until(now() + ms * (NS_PER_SEC / 1000));
	}
}

static void copy_one(const char *from, const char *to, const char *name)
{
	static char buf[65536];
	char source[512], target[512];
	int in, out;
	ssize_t n;

	snprintf(source, sizeof(source), "%s/%s", from, name);
	snprintf(target, sizeof(target), "%s/%s", to, name);
	in = open(source, O_RDONLY | O_CLOEXEC);
	out = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (in < 0 || out < 0)
		err(1, "%s", in < 0 ? source : target);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)n) != n)
			err(1, "%s", target);
	if (n < 0 || fsync(out) != 0)
		err(1, "%s", target);
	close(out);
	close(in);
}

static void do_copy(char **argv)
{
	DIR *d = opendir(argv[0]);
	const struct dirent *e;

	if (!d || mkdir(argv[1], 0755) != 0)
		err(1, "%s", d ? argv[1] : argv[0]);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			copy_one(argv[0], argv[1], e->d_name);
	closedir(d);
}

static int clamd;
static int64_t asked_ns;
static unsigned asked;

static void connect_to(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	clamd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (clamd < 0 || connect(clamd, (struct sockaddr *)&to, sizeof(to)) != 0)
		err(1, "%s", path);
	/* With its 0 byte: that ends a command. */
	if (write(clamd, "zIDSESSION", sizeof("zIDSESSION")) != sizeof("zIDSESSION"))
		err(1, "%s", path);
}

/* The command, then a byte that carries the descriptor. */
static void send_fd(int fd)
{
	static const char command[] = "zFILDES";
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.room = {0}};
	char byte = 0;
	struct iovec v = {&byte, 1};
	struct msghdr m = {
		.msg_iov = &v,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(int));
	if (write(clamd, command, sizeof(command)) != sizeof(command) || sendmsg(clamd, &m, 0) != 1)
		err(1, "clamd");
}

static void await_clean(const char *path)
{
	char reply[1024];
	size_t size = 0;

	while (size == 0 || reply[size - 1] != 0) {
		ssize_t n = read(clamd, reply + size, sizeof(reply) - size);

		if (n <= 0)
			errx(1, "%s: clamd does not answer", path);
		size += (size_t)n;
	}
	if (!strstr(reply, ": OK"))
		errx(1, "%s: clamd: %s", path, reply);
}

static int ask_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	int64_t begin;
	int fd;

	(void)st;
	(void)ftw;
	if (type != FTW_F)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", path);
	begin = now();
	send_fd(fd);
	await_clean(path);
	asked_ns += now() - begin;
	asked++;
	close(fd);
	return 0;
}

static void do_fildes(char **argv)
{
	connect_to(argv[0]);
	if (nftw(argv[1], ask_one, 16, FTW_PHYS) != 0)
		err(1, "%s", argv[1]);
	printf("%u %lld\n", asked, (long long)asked_ns);
}

static void do_sleep(char **argv)
{
	(void)argv;
	for (;;)
		pause();
}

static void do_exit(char **argv)
{
	(void)argv;
	_exit(0);
}

static const struct {
	const char *name;
	int args;
	void (*run)(char **argv);
} commands[] = {
	{"read", 1, do_read}, {"files", 3, do_files},	{"run", 2, do_run},	{"kill", 3, do_kill},
	{"copy", 2, do_copy}, {"fildes", 2, do_fildes}, {"sleep", 0, do_sleep}, {"exit", 0, do_exit},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0 && argc == commands[i].args + 2) {
			commands[i].run(argv + 2);
			return 0;
		}
	errx(2, "usage: see the head of bench_ops.c");
}
