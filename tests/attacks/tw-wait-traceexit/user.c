// SPDX-License-Identifier: GPL-2.0
/* Traces a child into its exit (PTRACE_O_TRACEEXIT), after the child has called the driver. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* user COMMAND PID: prints the pid of the child. COMMAND (0 to 3) selects the wait on task PID. */
int main(int argc, char **argv)
{
	int command = argc > 2 ? atoi(argv[1]) : 0, status;
	pid_t child = fork();

	if (child == 0) {
		int fd = open("/dev/traceexit", O_RDWR);

		if (fd < 0)
			_exit(1);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		if (ioctl(fd, 0xBB01 + command, atol(argv[2])))
			perror("ioctl");
		_exit(0);
	}
	printf("%d\n", child);
	fflush(stdout);
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		return 1;
	ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACEEXIT);
	ptrace(PTRACE_CONT, child, 0, 0);
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, child, 0, 0);
	return 0;
}
